"""The method "sam": SAM proposes objects on keyframe slices, SAM 2 carries them through the volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch

from nnunetv2_supervoxel.checkpoints.loading import load_sam, load_sam2
from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.generation.intensity import to_uint8_rgb
from nnunetv2_supervoxel.generation.methods.base import Image, Method
from nnunetv2_supervoxel.generation.sam.keyframes import draw_keyframes
from nnunetv2_supervoxel.generation.sam.propagation import Propagator, Seeds
from nnunetv2_supervoxel.generation.sam.proposals import Proposal, Proposer
from nnunetv2_supervoxel.generation.sam.tracks import Box, Track
from nnunetv2_supervoxel.masks.components import seed_component
from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel, SupervoxelSet
from nnunetv2_supervoxel.randomness import case_generator


class SamMethod(Method):
    """Proposals on keyframe slices, their tracks in both directions, and of each track the part that holds the seed."""

    packages = ("torchvision", "segment-anything", "sam2")

    def __init__(self, config: GenerationConfig, device: torch.device) -> None:
        self.config = config
        sam = load_sam(config.sam1_checkpoint, device)
        sam2 = load_sam2(config.sam2_checkpoint, device)
        self._checkpoints = {
            "sam1": {"name": sam.name, "sha256": sam.sha256},
            "sam2": {"name": sam2.name, "sha256": sam2.sha256},
        }
        self._propose = Proposer(sam.model, config)
        self._propagate = Propagator(
            sam2.model, config.objects_per_batch, config.precision, config.max_track_growth, config.keep_slices
        )

    @property
    def provenance(self) -> dict[str, Any]:
        """The checkpoints: of each its name and SHA-256."""
        return {"checkpoints": self._checkpoints}

    def __call__(self, image: Image) -> SupervoxelSet:
        """Make the supervoxels of one image: first all proposals, then their tracks, one axis after the other."""
        keyframes = list(self._keyframes(image))
        if not keyframes:
            return SupervoxelSet(image.shape, (), image.spacing, ("SAM proposed no object",))
        most = self.config.max_supervoxel_share * np.prod(image.shape)
        found = [voxel for voxel in self._supervoxels(image, keyframes) if voxel and voxel.voxels <= most]
        notes = () if found else ("no proposal became a supervoxel",)
        return SupervoxelSet(image.shape, tuple(found), image.spacing, notes)

    def _supervoxels(self, image: Image, keyframes: Sequence[_Keyframe]) -> Iterator[Supervoxel | None]:
        """One for each proposal, in the keyframes' order; None where nothing is left of it."""
        made: dict[int, list[Supervoxel | None]] = {}
        for axis in sorted({keyframe.axis for keyframe in keyframes}):
            numbers = [number for number, keyframe in enumerate(keyframes) if keyframe.axis == axis]
            tracks = self._tracks(image, axis, [keyframes[number] for number in numbers])
            for number, its_tracks in zip(numbers, tracks, strict=True):
                made[number] = supervoxels_of(its_tracks, keyframes[number].proposals, keyframes[number].index, axis)
        return chain.from_iterable(made[number] for number in range(len(keyframes)))

    def _keyframes(self, image: Image) -> Iterator[_Keyframe]:
        """Keyframe slices, each with its share of `masks_per_image` proposals, drawn at random from all there.

        A keyframe is the first of `max_keyframes` slices with enough proposals, or else the one with most of them.
        There are up to `keyframes`: fewer if there are not so many slices, or where SAM proposes nothing.
        """
        config = self.config
        candidates = self._candidates(image.shape, case_generator(config.seed, image.name, "keyframe"))
        rng, left = case_generator(config.seed, image.name, "proposals"), config.masks_per_image
        for number, (axis, slices) in enumerate(candidates):
            keyframe, proposals = self._first_with_enough(image, axis, slices)
            share = -(-left // (config.keyframes - number))
            taken = [proposals[i] for i in rng.permutation(len(proposals))[:share]]
            left -= len(taken)
            if taken:
                yield _Keyframe(axis, keyframe, taken)
            if not left:
                return

    def _candidates(self, shape: Sequence[int], rng: np.random.Generator) -> list[tuple[int, list[int]]]:
        """For each keyframe its axis and the slices to try, no slice twice."""
        axes = self.config.axis
        turns = [axes[i % len(axes)] for i in range(self.config.keyframes)]
        tried = {axis: turns.count(axis) * self.config.max_keyframes for axis in axes}
        drawn = {axis: draw_keyframes(shape[axis], count, rng) for axis, count in tried.items()}
        return [(axis, drawn[axis][i // len(axes) :: turns.count(axis)]) for i, axis in enumerate(turns)]

    def _first_with_enough(self, image: Image, axis: int, candidates: Sequence[int]) -> tuple[int, list[Proposal]]:
        """Of the slices to try, the first with `min_proposals`, or else the one with most; and its proposals."""
        best: tuple[int, list[Proposal]] = (0, [])
        for keyframe in candidates:
            proposals = self._propose(to_uint8_rgb(image.windowed_slice(axis, keyframe)))
            if len(proposals) > len(best[1]):
                best = keyframe, proposals
            if len(proposals) >= self.config.min_proposals:
                break
        return best

    def _tracks(self, image: Image, axis: int, keyframes: Sequence[_Keyframe]) -> list[list[Track]]:
        """For every keyframe of an axis a track per proposal; of a volume with one slice, the proposals themselves."""
        frames = image.shape[axis]
        seeds = [Seeds(keyframe.index, np.stack([p.mask for p in keyframe.proposals])) for keyframe in keyframes]
        if frames > 1:
            colours = 1 if len(image.array) == 1 else 3  # three equal ones would be resized three times
            return self._propagate(lambda frame: image.windowed_slice(axis, frame)[:colours], frames, seeds)
        tracks = [[Track() for _ in of.masks] for of in seeds]
        for its_tracks, of in zip(tracks, seeds, strict=True):
            for track, mask in zip(its_tracks, of.masks, strict=True):
                track[of.keyframe] = mask
        return tracks


@dataclass(frozen=True)
class _Keyframe:
    """A slice on which SAM looked, and what is taken of what it proposed there."""

    axis: int
    index: int
    proposals: list[Proposal]


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
    if component is None or (tight := component.bounding_box()) is None:
        return None
    z, y, x = (outer.start + inner.start for outer, inner in zip(_turned(box, axis), tight, strict=True))
    return Supervoxel(
        packed=component.cropped(tight),
        origin=(z, y, x),
        axis=axis,
        keyframe=keyframe,
        predicted_iou=round(proposal.predicted_iou, 6),
        stability_score=round(proposal.stability_score, 6),
    )


class _InVolume:
    """What lies in a box (slice, row, column) of a track, turned into the volume's axes (z, y, x).

    It is a `Slabs` (see packed_masks.py).
    """

    def __init__(self, track: Track, box: Box, axis: int) -> None:
        self._track, self._box, self._axis = track, box, axis
        self.shape = tuple(side.stop - side.start for side in _turned(box, axis))

    def rows(self, start: int, stop: int) -> np.ndarray:
        """The part `[start:stop]` along z as a boolean array."""
        z, y, x = _turned(self._box, self._axis)
        part = _turned_back((slice(z.start + start, z.start + stop), y, x), self._axis)
        return np.moveaxis(self._track.in_box(part), 0, self._axis)


def _turned(box: Box, axis: int) -> Box:
    """A box (slice, row, column) in the volume's axes (z, y, x)."""
    sides = list(box)
    sides.insert(axis, sides.pop(0))
    z, y, x = sides
    return z, y, x


def _turned_back(box: Box, axis: int) -> Box:
    """A box in the volume's axes (z, y, x) as (slice, row, column)."""
    sides = list(box)
    sides.insert(0, sides.pop(axis))
    frame, row, column = sides
    return frame, row, column
