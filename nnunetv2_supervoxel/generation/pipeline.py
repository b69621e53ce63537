"""The pipeline that joins the steps: load the models once, call it on an array, get a `SupervoxelSet`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version

import numpy as np
import torch

from nnunetv2_supervoxel.checkpoints import load_sam, load_sam2
from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.generation.intensity import IntensityWindow, count_not_finite, to_uint8_rgb
from nnunetv2_supervoxel.generation.sam.keyframes import draw_keyframes
from nnunetv2_supervoxel.generation.sam.propagation import Propagator, Track
from nnunetv2_supervoxel.generation.sam.proposals import Proposal, Proposer
from nnunetv2_supervoxel.masks.components import seed_component
from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel, SupervoxelSet
from nnunetv2_supervoxel.randomness import case_generator

_PACKAGES = ("nnunetv2-supervoxel", "nnunetv2", "torch", "torchvision", "segment-anything", "sam2", "numpy")


class SupervoxelGenerator:
    """Makes supervoxels of images.

    Args:
        config: checkpoints and settings; the default takes SAM vit_h and SAM 2.1 large.
        device: "cuda", "cuda:1", "cpu", "mps"; default CUDA where there is one.

    Raises:
        UserError: a checkpoint or the device is missing or unfit.
    """

    def __init__(self, config: GenerationConfig | None = None, device: torch.device | str | None = None) -> None:
        self.config = config or GenerationConfig()
        self.device = _usable_device(device)
        sam = load_sam(self.config.sam1_checkpoint, self.device)
        sam2 = load_sam2(self.config.sam2_checkpoint, self.device)
        self._checkpoints = {
            "sam1": {"name": sam.name, "sha256": sam.sha256},
            "sam2": {"name": sam2.name, "sha256": sam2.sha256},
        }
        self._propose = Proposer(sam.model, self.config)
        self._propagate = Propagator(
            sam2.model, self.config.objects_per_batch, self.config.precision, self.config.max_track_growth
        )

    @property
    def provenance(self) -> dict:
        """What made the supervoxels, ready for JSON: packages, checkpoints, config (the seed among it), device,
        and PyTorch's threads: with another number of them a CPU rounds differently, and single voxels change.
        """
        return {
            "packages": {package: version(package) for package in _PACKAGES},
            "checkpoints": self._checkpoints,
            "config": self.config.model_dump(mode="json"),
            "device": self.device.type,
            "threads": torch.get_num_threads(),
        }

    def __call__(
        self, array: np.ndarray, spacing: Sequence[float] = (1.0, 1.0, 1.0), name: str = "volume"
    ) -> SupervoxelSet:
        """Make the supervoxels of one image.

        Args:
            array: (z, y, x), or (c, z, y, x) with one to three channels, any real type.
            spacing: voxel size (z, y, x) in mm; kept with the result.
            name: case identifier; with the seed it decides all that is random.

        Raises:
            UserError: the array has another shape, or complex voxels.
        """
        volume = _checked(array)
        shape, spacing = volume.shape[1:], tuple(float(size) for size in spacing)
        not_finite = count_not_finite(volume)
        notes = [f"{not_finite} voxels are NaN or infinite"] if not_finite else []
        window = IntensityWindow.of(volume, self.config.intensity_percentiles)
        if window.is_constant:
            return SupervoxelSet(shape, (), spacing, (*notes, "the image is constant"))

        most = self.config.max_supervoxel_share * np.prod(shape)
        proposed, supervoxels = False, []
        for axis, keyframe, proposals in self._proposals(volume, window, name):
            proposed = True
            tracks = self._tracks(_sliced(volume, axis), window, proposals, keyframe)
            found = supervoxels_of(tracks, proposals, keyframe, axis)
            supervoxels += [supervoxel for supervoxel in found if supervoxel and supervoxel.voxels <= most]
        if not supervoxels:
            notes.append("no proposal became a supervoxel" if proposed else "SAM proposed no object")
        return SupervoxelSet(shape, tuple(supervoxels), spacing, tuple(notes))

    def _proposals(
        self, volume: np.ndarray, window: IntensityWindow, name: str
    ) -> Iterator[tuple[int, int, list[Proposal]]]:
        """Axes and keyframe slices, each with its share of `masks_per_image` proposals, drawn at random from all there.

        Each is the first of `max_keyframes` slices with enough proposals, or else the one with most of them; there are
        up to `keyframes`, fewer if there are not so many slices, or SAM proposes nothing.
        """
        config = self.config
        candidates = self._candidates(volume.shape[1:], case_generator(config.seed, name, "keyframe"))
        rng, left = case_generator(config.seed, name, "proposals"), config.masks_per_image
        for number, (axis, slices) in enumerate(candidates):
            keyframe, proposals = self._first_with_enough(_sliced(volume, axis), window, slices)
            share = -(-left // (config.keyframes - number))
            taken = [proposals[i] for i in rng.permutation(len(proposals))[:share]]
            left -= len(taken)
            if taken:
                yield axis, keyframe, taken
            if not left:
                return

    def _candidates(self, shape: Sequence[int], rng: np.random.Generator) -> list[tuple[int, list[int]]]:
        """For each keyframe its axis and the slices to try, no slice twice."""
        axes = self.config.axis
        turns = [axes[i % len(axes)] for i in range(self.config.keyframes)]
        tried = {axis: turns.count(axis) * self.config.max_keyframes for axis in axes}
        drawn = {axis: draw_keyframes(shape[axis], count, rng) for axis, count in tried.items()}
        return [(axis, drawn[axis][i // len(axes) :: turns.count(axis)]) for i, axis in enumerate(turns)]

    def _first_with_enough(
        self, sliced: np.ndarray, window: IntensityWindow, candidates: Sequence[int]
    ) -> tuple[int, list[Proposal]]:
        best: tuple[int, list[Proposal]] = (0, [])
        for keyframe in candidates:
            proposals = self._propose(to_uint8_rgb(window(sliced[:, keyframe])))
            if len(proposals) > len(best[1]):
                best = keyframe, proposals
            if len(proposals) >= self.config.min_proposals:
                break
        return best

    def _tracks(
        self, sliced: np.ndarray, window: IntensityWindow, proposals: list[Proposal], keyframe: int
    ) -> list[Track]:
        frames = sliced.shape[1]
        seeds = np.stack([proposal.mask for proposal in proposals])
        if frames > 1:
            colours = 1 if len(sliced) == 1 else 3  # three equal ones would be resized three times
            return self._propagate(lambda frame: window(sliced[:, frame])[:colours], frames, seeds, keyframe)
        tracks = [Track() for _ in seeds]
        for track, seed in zip(tracks, seeds, strict=True):
            track[0] = seed
        return tracks


def supervoxels_of(
    tracks: Sequence[Track], proposals: Sequence[Proposal], keyframe: int, axis: int
) -> list[Supervoxel | None]:
    """The part of every track that is connected with its seed, turned back into the volume's axes.

    Args:
        tracks: one per proposal, along slices of axis 0.
        proposals: the seeds.
        keyframe: index of their slice.
        axis: the volume's axis that was moved to the front for slicing.

    Returns:
        One per track; None where nothing of the seed is left.
    """
    return [_supervoxel(track, seed, keyframe, axis) for track, seed in zip(tracks, proposals, strict=True)]


def _supervoxel(track: Track, proposal: Proposal, keyframe: int, axis: int) -> Supervoxel | None:
    box = track.box()
    if box is None:
        return None
    seed = Track()
    seed[keyframe] = proposal.mask
    component = seed_component(_InVolume(track, box, axis), _InVolume(seed, box, axis))
    if component is None:
        return None
    tight = component.bounding_box()
    return Supervoxel(
        packed=component.cropped(tight),
        origin=tuple(outer.start + inner.start for outer, inner in zip(_turned(box, axis), tight, strict=True)),
        axis=axis,
        keyframe=keyframe,
        predicted_iou=round(proposal.predicted_iou, 6),
        stability_score=round(proposal.stability_score, 6),
    )


class _InVolume:
    """What lies in a box of a track (slice, row, column), turned into the volume's axes (z, y, x)."""

    def __init__(self, track: Track, box: tuple[slice, slice, slice], axis: int) -> None:
        self._track, self._box, self._axis = track, box, axis
        self.shape = tuple(side.stop - side.start for side in _turned(box, axis))

    def rows(self, start: int, stop: int) -> np.ndarray:
        z, *rest = _turned(self._box, self._axis)
        part = [slice(z.start + start, z.start + stop), *rest]
        part.insert(0, part.pop(self._axis))
        return np.moveaxis(self._track.in_box(tuple(part)), 0, self._axis)


def _sliced(volume: np.ndarray, axis: int) -> np.ndarray:
    """A volume (c, z, y, x) with one axis moved to the front, to be sliced along it."""
    return np.moveaxis(volume, 1 + axis, 1)


def _turned(box: tuple[slice, slice, slice], axis: int) -> tuple[slice, slice, slice]:
    """A box (slice, row, column) in the volume's axes."""
    turned = list(box)
    turned.insert(axis, turned.pop(0))
    return tuple(turned)


def _checked(array: np.ndarray) -> np.ndarray:
    """The array as (c, z, y, x)."""
    array = np.asarray(array)
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or not 1 <= len(array) <= 3 or not array.size:
        raise UserError(
            f"An image (z, y, x) or (1 to 3 channels, z, y, x) was expected, not one of shape {array.shape}."
        )
    if array.dtype.kind not in "biuf":
        raise UserError(f"An image of real numbers was expected, not of {array.dtype}.")
    return array


def _usable_device(device: torch.device | str | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(device)
        torch.zeros(1, device=device)
    except Exception as error:  # PyTorch raises AssertionError, RuntimeError and others for absent devices
        raise UserError(
            f"The device '{device}' can't be used ({str(error).splitlines()[0]}); take another, such as -device cpu."
        ) from error
    return device
