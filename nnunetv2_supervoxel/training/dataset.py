"""Preprocessed cases with the objects that can be prompted for: their supervoxels, and real labels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cc3d
import numpy as np

from nnunetv2_supervoxel.errors import UserError, generate_again
from nnunetv2_supervoxel.files.preprocessed import open_case, open_preprocessed
from nnunetv2_supervoxel.files.supervoxel_files import list_cases, open_array, read_locations

LabelUse = Literal["never", "instead", "also"]
Key = int | tuple[int, ...]  # a supervoxel's number from 1, a label, or the labels of a region
Locations = Mapping[Any, np.ndarray]  # class locations by `Key`: rows (k, 4) of (channel, z, y, x)
UNKNOWN = int(np.iinfo(np.int16).max)  # in targets, where it isn't known what is there
Bounds = Sequence[tuple[int, int]]  # per axis (z, y, x): first voxel, one past the last; may reach beyond the volume


@dataclass(frozen=True)
class DrawnObject:
    """An object, and a voxel in it.

    Attributes:
        source: "supervoxel" or "label".
        key: of its class locations.
        centre: a voxel (z, y, x) that belongs to the object.
    """

    source: Literal["supervoxel", "label"]
    key: Key
    centre: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class PromptCase:
    """One case, opened; voxels are read when patches are asked for.

    Attributes:
        name: case identifier.
        image: (c, z, y, x), float, indexed lazily.
        segmentation: (1, z, y, x), real labels, -1 outside nnU-Net's nonzero mask; indexed lazily.
        supervoxels: (n, z, y, x), uint8 0/1, indexed lazily; n is 0 for a case that has none.
        supervoxel_locations: {1: rows, ..., n: rows}, rows integer (k, 4) of (channel, z, y, x).
        label_locations: the same for real labels, as nnU-Net's preprocessing wrote it.
        ignore_label: the label that says "unknown"; None: there is none.
    """

    name: str
    image: Any
    segmentation: Any
    supervoxels: Any
    supervoxel_locations: dict[int, np.ndarray]
    label_locations: Locations
    ignore_label: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) in voxels."""
        z, y, x = (int(size) for size in self.image.shape[1:])
        return z, y, x

    @property
    def has_supervoxels(self) -> bool:
        """Whether the case has supervoxels, even if all are empty."""
        return self.supervoxels.shape[0] > 0

    def draw_object(self, rng: np.random.Generator, from_labels: bool = False) -> DrawnObject | None:
        """A supervoxel or a label, all equally likely, and a random voxel of it. None if there is none."""
        locations: Locations = self.label_locations if from_labels else self.supervoxel_locations
        keys = _visible_keys(locations)
        if not keys:
            return None
        key = keys[rng.integers(len(keys))]
        z, y, x = (int(index) for index in locations[key][rng.integers(len(locations[key]))][1:])
        return DrawnObject("label" if from_labels else "supervoxel", key, (z, y, x))

    def image_patch(self, bounds: Bounds) -> np.ndarray:
        """float32 (c, *patch); 0, the mean intensity, beyond the volume."""
        return read_patch(self.image, slice(None), bounds, 0).astype(np.float32, copy=False)

    def target_patch(self, drawn: DrawnObject, bounds: Bounds) -> np.ndarray:
        """Boolean (*patch): a supervoxel as stored, or the label's component (in the patch) that holds the centre."""
        if isinstance(drawn.key, int) and drawn.source == "supervoxel":
            return self.supervoxel_patch(drawn.key, bounds)
        labels = np.isin(read_patch(self.segmentation, 0, bounds, -1), drawn.key)
        components = cc3d.connected_components(labels, connectivity=26)
        centre = tuple(index - low for index, (low, _) in zip(drawn.centre, bounds, strict=True))
        return (components == components[centre]) & labels

    def with_unknown(self, target: np.ndarray, source: Literal["supervoxel", "label"], bounds: Bounds) -> np.ndarray:
        """int16 (*patch): an object's boolean target, and `UNKNOWN` where labels don't say whether they go on."""
        marked = target.astype(np.int16)
        if source == "label" and self.ignore_label is not None:
            marked[read_patch(self.segmentation, 0, bounds, -1) == self.ignore_label] = UNKNOWN
        return marked

    def keys_within(self, bounds: Bounds) -> list[int]:
        """The supervoxels that have a class location in a patch."""
        low, high = np.transpose(bounds)
        return [
            key
            for key, rows in self.supervoxel_locations.items()
            if ((rows[:, 1:] >= low) & (rows[:, 1:] < high)).all(axis=1).any()
        ]

    def supervoxel_patch(self, key: int, bounds: Bounds) -> np.ndarray:
        """Boolean (*patch): a supervoxel as stored."""
        return read_patch(self.supervoxels, key - 1, bounds, 0) > 0

    def outside_patch(self, bounds: Bounds) -> np.ndarray:
        """Boolean (*patch): where nnU-Net's nonzero mask says that there is no image."""
        return read_patch(self.segmentation, 0, bounds, -1) < 0


class PromptDataset:
    """The cases of one preprocessed dataset that have something to train on.

    Args:
        preprocessed_folder: nnU-Net's folder of preprocessed cases.
        supervoxel_folder: the supervoxels' folder beside it.
        identifiers: which cases; None means all.
        remedy: what the user should do about missing supervoxels, as the end of a sentence.
        labels: whether a case without supervoxels is used for its real labels: "never"; "instead", if no case has
            supervoxels; or "also", always.
        ignore_label: the label that says "unknown"; None: there is none.

    Raises:
        UserError: no case has what is needed, all supervoxels are empty, or nnU-Net can't read the preprocessed folder.
    """

    def __init__(
        self,
        preprocessed_folder: Path | str,
        supervoxel_folder: Path | str,
        identifiers: Sequence[str] | None = None,
        remedy: str = "generate them with nnUNetv2_supervoxel_generate",
        labels: LabelUse = "never",
        ignore_label: int | None = None,
    ) -> None:
        self.ignore_label = ignore_label
        self.supervoxel_folder = Path(supervoxel_folder)
        self._preprocessed = open_preprocessed(Path(preprocessed_folder))
        wanted = sorted(self._preprocessed.identifiers if identifiers is None else identifiers)
        present = set(list_cases(self.supervoxel_folder)).intersection(wanted)
        damaged = {case: reason for case in sorted(present) if (reason := self._damage(case))}
        usable = present.difference(damaged)
        self._with_supervoxels = frozenset(usable)
        labels_do = labels == "also" or (labels == "instead" and not present)
        if labels_do:
            usable |= {case for case in wanted if case not in present and self._has_labels(case)}
        self.identifiers = [case for case in wanted if case in usable]
        self._complain(wanted, damaged, "supervoxels or labels" if labels_do else "supervoxels", remedy)
        if labels != "also" and usable == self._with_supervoxels and all(self._is_empty(case) for case in usable):
            raise UserError(f"All supervoxels in {self.supervoxel_folder} are empty; {remedy}, with --overwrite.")

    def _complain(self, wanted: Sequence[str], damaged: dict[str, str], needed: str, remedy: str) -> None:
        """Warn of cases that are left out.

        Raises:
            UserError: all cases are left out.
        """
        if not self.identifiers:
            reasons = "".join(f" {reason}" for reason in list(damaged.values())[:1])
            raise UserError(f"None of {len(wanted)} cases has {needed} in {self.supervoxel_folder}; {remedy}.{reasons}")
        for reason in damaged.values():
            warnings.warn(f"Skipped: {reason}", stacklevel=3)
        if missing := sorted(set(wanted).difference(damaged, self.identifiers)):
            warnings.warn(
                f"{len(missing)} of {len(wanted)} cases have no {needed} in {self.supervoxel_folder} and are "
                f"skipped ({_shortened(missing)}); {remedy}.",
                stacklevel=3,
            )

    def __len__(self) -> int:
        return len(self.identifiers)

    def open_case(self, case: str) -> PromptCase:
        """Open a case for reading patches.

        Raises:
            UserError: files are missing or damaged, or image and supervoxels don't fit together.
        """
        image, segmentation, label_locations = self._load(case)
        if case not in self._with_supervoxels:
            nothing = np.zeros((0, *image.shape[1:]), np.uint8)
            return PromptCase(case, image, segmentation, nothing, {}, label_locations, self.ignore_label)
        supervoxels = open_array(self.supervoxel_folder, case)
        locations = read_locations(self.supervoxel_folder, case)
        if tuple(supervoxels.shape[1:]) != tuple(image.shape[1:]) or not set(locations) <= set(
            range(1, supervoxels.shape[0] + 1)
        ):
            raise UserError(
                f"{self.supervoxel_folder / case}.b2nd has shape {tuple(supervoxels.shape)} and {len(locations)} class "
                f"locations, but the image has shape {tuple(image.shape)}; {generate_again(case)}"
            )
        return PromptCase(case, image, segmentation, supervoxels, locations, label_locations, self.ignore_label)

    def read_locations(self, cases: Sequence[str]) -> Iterator[dict[int, np.ndarray]]:
        """The supervoxels' class locations of those cases that can be read.

        Raises:
            UserError: no case can be read.
        """
        failures = []
        for case in cases:
            try:
                yield read_locations(self.supervoxel_folder, case)
            except UserError as error:
                failures.append(error)
        if failures and len(failures) == len(cases):
            raise failures[-1]

    def _load(self, case: str) -> tuple[Any, Any, Locations]:
        """Image, segmentation and real labels' class locations, as nnU-Net's preprocessing wrote them.

        Raises:
            UserError: files are missing or damaged.
        """
        image, segmentation, properties = open_case(self._preprocessed, case)
        locations = properties.get("class_locations", {})
        if not isinstance(locations, dict) or not all(
            isinstance(rows, (list, np.ndarray)) for rows in locations.values()
        ):
            raise UserError(
                f"{self._preprocessed.source_folder}/{case}.pkl holds no class locations as nnU-Net's preprocessing "
                "writes them; preprocess the dataset again."
            )
        return image, segmentation, locations

    def _is_empty(self, case: str) -> bool:
        """Whether no supervoxel has a voxel. False also if that can't be read: who draws the case says why."""
        try:
            return not _visible_keys(read_locations(self.supervoxel_folder, case))
        except UserError:
            return False

    def _has_labels(self, case: str) -> bool:
        """Whether a real label has a voxel. Also False if the case can't be read."""
        try:
            return bool(_visible_keys(self._load(case)[2]))
        except UserError:
            return False

    def _damage(self, case: str) -> str | None:
        """Why the case can't be used, as far as opening its files shows. None if nothing is wrong."""
        try:
            open_array(self.supervoxel_folder, case)
        except UserError as error:
            return str(error)
        if (self.supervoxel_folder / f"{case}.pkl").is_file():
            return None
        return (
            f"{self.supervoxel_folder / case}.pkl is missing; write it with "
            f"'SuperVoxel_save_fg_location -supervoxel_folder {self.supervoxel_folder}'."
        )


def patch_bounds(
    centre: Sequence[int], shape: Sequence[int], patch_size: Sequence[int], final_patch_size: Sequence[int]
) -> list[tuple[int, int]]:
    """Where a patch around `centre` is read: nnU-Net's rule for foreground patches.

    Args:
        centre: voxel (z, y, x) that should be in the middle.
        shape: of the volume (z, y, x).
        patch_size: what is read, in voxels.
        final_patch_size: what augmentation leaves of it. If the volume is larger, this part stays inside the volume.
    """
    bounds = []
    for middle, length, size, final in zip(centre, shape, patch_size, final_patch_size, strict=True):
        beyond = -(-max(size - final, size - length, 0) // 2)  # voxels of padding at each end
        low = min(max(middle - size // 2, -beyond), length + beyond - size)
        bounds.append((int(low), int(low + size)))
    return bounds


def read_patch(array: Any, channel: int | slice, bounds: Bounds, fill: float) -> np.ndarray:
    """Read a patch of one or several channels, and nothing else, from a lazily indexed array (c, z, y, x).

    Returns:
        (*patch) for one channel, (c, *patch) for a slice of them; `fill` beyond the volume.
    """
    inside = [(max(0, low), min(size, high)) for (low, high), size in zip(bounds, array.shape[1:], strict=True)]
    patch = np.asarray(array[(channel, *(slice(low, max(low, high)) for low, high in inside))])
    padding = [(low - first, last - high) for (first, last), (low, high) in zip(bounds, inside, strict=True)]
    if isinstance(channel, slice):
        padding.insert(0, (0, 0))
    return np.pad(patch, padding, constant_values=fill) if np.any(padding) else patch


def _visible_keys(locations: Locations) -> list[Key]:
    """Keys of the objects that have a voxel. A region with -1 isn't one: nnU-Net adds it for an ignore label."""
    return [key for key, rows in locations.items() if len(rows) and not (isinstance(key, tuple) and -1 in key)]


def _shortened(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
