"""Users work on slices: a slice through a region is chosen at random, and a drawing on it is placed in the volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from nnunetv2_supervoxel.config import InteractionKind
from nnunetv2_supervoxel.prompts.interaction import Interaction
from nnunetv2_supervoxel.randomness import weighted_choice


@dataclass(frozen=True, eq=False)
class SlicePiece:
    """One 8-connected piece of a region's cross-section.

    Attributes:
        axis: array axis (0, 1 or 2) across which the slice was taken.
        index: slice number along `axis`.
        mask: boolean (h, w), True inside; cropped to the piece.
        lower: where `mask[0, 0]` lies in the slice (voxels).
        shape: shape of the whole slice (voxels).
    """

    axis: int
    index: int
    mask: np.ndarray
    lower: tuple[int, int]
    shape: tuple[int, int]

    def voxel(self, pixel: tuple[int, int]) -> tuple[int, int, int]:
        """Volume index (z, y, x) of a pixel of `mask`."""
        return self._in_volume(self.lower[0] + int(pixel[0]), self.lower[1] + int(pixel[1]))

    def interaction(
        self, kind: InteractionKind, positive: bool, drawn: np.ndarray, start: tuple[int, int]
    ) -> Interaction:
        """A drawing on this slice, as a prompt that is one voxel thick.

        Args:
            kind: its type.
            positive: its sign.
            drawn: boolean (h, w); its part outside the slice is cut off.
            start: where `drawn[0, 0]` lies, in pixels of `mask`.
        """
        begin = [low + first for low, first in zip(self.lower, start, strict=True)]
        stamp = np.expand_dims(drawn[self._inside(begin, drawn.shape)].astype(np.float32), self.axis)
        return Interaction(kind, positive, self._in_volume(*(max(0, first) for first in begin)), stamp)

    def _inside(self, begin: Sequence[int], drawn: Sequence[int]) -> tuple[slice, ...]:
        """Index of the part of a drawing that lies in the slice. `begin` is its first pixel, `drawn` its shape."""
        return tuple(
            slice(max(0, -first), max(0, min(length, size - first)))
            for first, length, size in zip(begin, drawn, self.shape, strict=True)
        )

    def _in_volume(self, row: int, column: int) -> tuple[int, int, int]:
        position = [row, column]
        position.insert(self.axis, self.index)
        z, y, x = position
        return z, y, x


def draw_slice(region: np.ndarray, rng: np.random.Generator) -> SlicePiece:
    """A random slice through `region`, in any of the three orientations. Where the region is wide, slices are likelier.

    Args:
        region: boolean (z, y, x), at least one voxel.
        rng: draws orientation, slice, and (by area) the piece if the slice cuts the region into several.
    """
    axis = int(rng.integers(3))
    first, second = (2, 1) if axis == 0 else (0, 2 - axis)  # this order of sums is fastest in memory
    areas = region.sum(axis=first, dtype=np.uint16).sum(axis=second, dtype=np.int64)
    index = weighted_choice(areas**2, rng)  # users look at the middle of an object, where it is widest
    plane = region.take(index, axis=axis).view(np.uint8)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(plane, connectivity=8)
    piece = 1 + weighted_choice(statistics[1:, cv2.CC_STAT_AREA], rng)
    left, top, width, height, _ = statistics[piece]
    mask = labels[top : top + height, left : left + width] == piece
    height, width = plane.shape
    return SlicePiece(axis, index, mask, (int(top), int(left)), (height, width))


def depth(mask: np.ndarray) -> np.ndarray:
    """Distance (pixels) of every pixel of `mask` to the nearest one outside. All beyond the array counts as outside."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    return cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
