"""Boolean volumes that are processed slab by slab, so that the memory needed doesn't grow with their size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

_SLAB_VOXELS = 1 << 20


class Slabs(Protocol):
    """A boolean array (z, y, x) that is read some rows at a time.

    Attributes:
        shape: (z, y, x) in voxels.
    """

    shape: tuple[int, ...]

    def rows(self, start: int, stop: int) -> np.ndarray:
        """The part `[start:stop]` as a boolean array."""


def slab_ranges(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """First row of each slab, and one past its last row.

    A slab has about a million voxels, or 8 rows if these are more. All slabs but the last have a multiple of 8 rows. So
    the packed bits of all slabs, one after the other, are those of the whole array.
    """
    step = max(1, _SLAB_VOXELS // max(1, 8 * int(np.prod(shape[1:])))) * 8
    for start in range(0, shape[0], step):
        yield start, min(start + step, shape[0])


class PackedMask:
    """A boolean array (z, y, x), stored as one bit for each voxel.

    Args:
        source: read once, slab by slab.

    Attributes:
        shape: (z, y, x) in voxels.
    """

    def __init__(self, source: Slabs) -> None:
        self.shape = tuple(int(size) for size in source.shape)
        parts = [np.packbits(source.rows(start, stop)) for start, stop in slab_ranges(self.shape)]
        self._bits = np.concatenate(parts) if parts else np.zeros(0, np.uint8)

    @classmethod
    def of(cls, mask: np.ndarray) -> PackedMask:
        """The bits of a boolean array."""
        return cls(_Whole(mask))

    def rows(self, start: int, stop: int) -> np.ndarray:
        """The part `[start:stop]`: a new boolean array."""
        size = int(np.prod(self.shape[1:]))
        first, last = start * size, stop * size
        bits = np.unpackbits(self._bits[first // 8 : -(-last // 8)])
        return bits[first % 8 :][: last - first].view(bool).reshape(stop - start, *self.shape[1:])

    def whole(self) -> np.ndarray:
        """The whole array: a new boolean array."""
        return self.rows(0, self.shape[0])

    def slabs(self) -> Iterator[tuple[int, np.ndarray]]:
        """First row and content of one slab after the other."""
        for start, stop in slab_ranges(self.shape):
            yield start, self.rows(start, stop)

    def count(self) -> int:
        """Number of voxels that are True."""
        return sum(int(np.count_nonzero(slab)) for _, slab in self.slabs())

    def bounding_box(self) -> tuple[slice, ...] | None:
        """The smallest box around the True voxels; None if there are none."""
        hits = [np.zeros(size, bool) for size in self.shape]
        for start, slab in self.slabs():
            hits[0][start : start + len(slab)] = slab.any(axis=(1, 2))
            plane = np.asarray(slab.any(axis=0))
            hits[1] |= plane.any(axis=1)
            hits[2] |= plane.any(axis=0)
        found = [np.flatnonzero(hit) for hit in hits]
        return tuple(slice(int(hit[0]), int(hit[-1]) + 1) for hit in found) if found[0].size else None

    def cropped(self, box: tuple[slice, ...]) -> PackedMask:
        """The part inside a box."""
        whole = all((side.start, side.stop) == (0, size) for side, size in zip(box, self.shape, strict=True))
        return self if whole else PackedMask(_Crop(self, box))


class _Whole:
    def __init__(self, mask: np.ndarray) -> None:
        self._mask, self.shape = mask, mask.shape

    def rows(self, start: int, stop: int) -> np.ndarray:
        return self._mask[start:stop]


class _Crop:
    def __init__(self, mask: Slabs, box: tuple[slice, ...]) -> None:
        self._mask, self._box = mask, box
        self.shape = tuple(side.stop - side.start for side in box)

    def rows(self, start: int, stop: int) -> np.ndarray:
        first = self._box[0].start
        return self._mask.rows(first + start, first + stop)[(slice(None), *self._box[1:])]
