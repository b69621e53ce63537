"""From tracks to supervoxels: the part of each that is connected with its seed, in the volume's axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnunetv2_supervoxel.generation.sam.proposals import Proposal
from nnunetv2_supervoxel.generation.sam.tracks import Box, Track
from nnunetv2_supervoxel.masks.components import seed_component
from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel


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
        consistency=None if track.consistency is None else round(track.consistency, 6),
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
