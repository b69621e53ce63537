"""What the supervoxel files of a case promise, and whether they keep it. docs/reference/files.md says the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.files.supervoxel_arrays import read_values
from nnunetv2_supervoxel.files.supervoxel_folders import PROVENANCE_ENDING
from nnunetv2_supervoxel.masks.boxes import bounding_box
from nnunetv2_supervoxel.quality.reading import list_described


class Remedy(Enum):
    """What helps against a fault."""

    REWRITE = "the files are written anew from the masks and what the JSON says of their making"
    REMOVE = "the files are removed, so that generation makes the case again"
    NONE = "the files stay: they may not be generation's, or something else is wrong"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a case's files.

    Attributes:
        text: what is wrong, in words that follow the case's name; what to do about it, only where there is no remedy.
        remedy: what helps.
    """

    text: str
    remedy: Remedy

    @classmethod
    def of_error(cls, error: UserError, remedy: Remedy) -> Fault:
        """What an error says is wrong, without its last words: they say what to do, and here the remedy does."""
        return cls(str(error).rsplit("; ", 1)[0], remedy)


# Of single supervoxels; the text goes on after their numbers.
_MAKING = Fault("have a keyframe in the JSON that the volume doesn't have", Remedy.REMOVE)
_VALUES = Fault("hold values other than 0 and 1", Remedy.REMOVE)
_LOST = Fault("are empty, but the JSON counts voxels of theirs", Remedy.REMOVE)
_COUNT = Fault("have another number of voxels than the JSON says", Remedy.REWRITE)
_BOX = Fault("have another bounding box than the JSON says", Remedy.REWRITE)
_LOCATIONS = Fault("have no class locations, or some that aren't their voxels", Remedy.REWRITE)


def check_case(folder: Path, case: str, shape: tuple[int, ...]) -> list[Fault]:
    """Everything that is wrong with a case's files. One supervoxel is in memory at a time.

    Args:
        folder: with the supervoxel files.
        case: identifier.
        shape: of the preprocessed case (z, y, x) in voxels.
    """
    if not (folder / f"{case}{PROVENANCE_ENDING}").is_file():
        text = "there is no JSON, so generation may not have made it and leaves it alone; move it away to have it made"
        return [Fault(text, Remedy.NONE)]
    try:
        provenance = supervoxel_files.read_provenance(folder, case)
        described = list_described(folder, case, provenance)
        if not described:
            return list(_check_nothing(folder, case, provenance))
        array = supervoxel_files.open_array(folder, case)
    except UserError as error:
        return [Fault.of_error(error, Remedy.REMOVE)]
    if array.shape != (len(described), *shape):
        expected = f"its JSON lists {len(described)} supervoxels and the preprocessed case has shape {tuple(shape)}"
        return [Fault(f"the array has shape {array.shape}, but {expected}", Remedy.REMOVE)]
    try:
        return [*_check_files(folder, case, array, provenance), *_check_supervoxels(folder, case, array, described)]
    except Exception:  # a truncated file opens, and fails on the first chunk that is not there
        return [Fault("the array is damaged: some of its voxels can't be read", Remedy.REMOVE)]


def _check_nothing(folder: Path, case: str, provenance: Mapping[str, Any]) -> Iterator[Fault]:
    """Of a case in which nothing was found."""
    if provenance.get("n") != 0:
        yield Fault("the JSON lists no supervoxels, but doesn't say that there are none", Remedy.REMOVE)
    if any(path.exists() for path in supervoxel_files.paths_of(folder, case)[1:]):
        yield Fault("there are masks or class locations, but the JSON says that nothing was found", Remedy.REMOVE)


def _check_files(folder: Path, case: str, array: blosc2.NDArray, provenance: Mapping[str, Any]) -> Iterator[Fault]:
    """Of the array as a whole."""
    if provenance.get("n") != len(array):
        yield Fault(f"the array holds {len(array)} supervoxels, the JSON says {provenance.get('n')}", Remedy.REWRITE)
    if provenance.get("shape") != list(array.shape[1:]):
        yield Fault(f"the JSON says that the case has shape {provenance.get('shape')}", Remedy.REWRITE)
    if array.chunks[0] != 1 or array.blocks[0] != 1:
        yield Fault("several supervoxels share a chunk, so reading a patch of one reads others", Remedy.REWRITE)
    digest = provenance.get("array_sha256")  # earlier versions didn't write it
    if digest is not None and digest != supervoxel_files.file_digest(folder, case):
        text = "the array isn't the one that generation wrote: its SHA-256 differs, so it was changed or damaged"
        yield Fault(text, Remedy.REWRITE)


def _check_supervoxels(
    folder: Path, case: str, array: blosc2.NDArray, described: Sequence[Mapping[str, Any]]
) -> Iterator[Fault]:
    """Of every supervoxel: its voxels, what the JSON says of them, and its class locations."""
    locations: Mapping[int, np.ndarray] | None = None
    try:
        locations = supervoxel_files.read_locations(folder, case)
    except UserError as error:
        yield Fault.of_error(error, Remedy.REWRITE)
    found: dict[Fault, list[int]] = {}
    for number, ((values, origin), one) in enumerate(zip(read_values(array), described, strict=True), 1):
        if one["keyframe"] >= array.shape[1 + one["axis"]]:
            found.setdefault(_MAKING, []).append(number)
        for fault in _check_values(values, origin, one):
            found.setdefault(fault, []).append(number)
        if locations is not None and not _are_voxels(locations.get(number), number - 1, values, origin):
            found.setdefault(_LOCATIONS, []).append(number)
    for fault, numbers in found.items():
        yield Fault(f"{_listed(numbers)} {fault.text}", fault.remedy)
    if locations is not None and (others := locations.keys() - range(1, len(described) + 1)):
        yield Fault(f"there are class locations of {_listed(sorted(others))}, which don't exist", Remedy.REWRITE)


def _check_values(values: np.ndarray, origin: Sequence[int], described: Mapping[str, Any]) -> Iterator[Fault]:
    """Of one supervoxel's values: uint8 (z, y, x), which begin at a voxel index (z, y, x)."""
    if values.max(initial=0) > 1:
        yield _VALUES
        return
    voxels = int(np.count_nonzero(values))
    if not voxels and described.get("voxels"):
        yield _LOST
        return
    if described.get("voxels") != voxels:
        yield _COUNT
    if voxels and described.get("bounding_box") != _bounding_box(values, origin):
        yield _BOX


def _bounding_box(values: np.ndarray, origin: Sequence[int]) -> list[list[int]]:
    """Of values that aren't all 0, in the volume, as the JSON has it."""
    box = bounding_box(values) or ()
    return [[start + side.start, start + side.stop] for start, side in zip(origin, box, strict=True)]


def _are_voxels(rows: np.ndarray | None, channel: int, values: np.ndarray, origin: Sequence[int]) -> bool:
    """Whether class locations are voxels of a supervoxel, and there are some if it has any."""
    if rows is None or not len(rows):
        return not values.any()
    here = rows[:, 1:].astype(np.int64) - origin
    inside = (here >= 0) & (here < values.shape)
    return bool((rows[:, 0] == channel).all() and inside.all() and (values[tuple(here.T)] == 1).all())


def _listed(numbers: Sequence[int], most: int = 8) -> str:
    """ "supervoxels 1, 2, 5 and 30 more": they count from 1, as class locations do."""
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return f"supervoxels {', '.join(map(str, numbers[:most]))}{more}"
