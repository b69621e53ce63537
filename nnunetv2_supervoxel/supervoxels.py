"""What generation makes of one case: supervoxels, each kept in its bounding box."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np


class _PackedMask:
    """Descriptor for a boolean array of which only the bits are kept; each access gives a new array."""

    def __get__(self, instance: Supervoxel | None, owner: type) -> np.ndarray:
        if instance is None:
            raise AttributeError("a mask has no default")  # what dataclasses want to hear
        bits, shape = instance.__dict__["_bits"], instance.shape
        return np.unpackbits(bits, count=math.prod(shape)).view(bool).reshape(shape)

    def __set__(self, instance: Supervoxel, mask: np.ndarray) -> None:
        instance.__dict__.update(_bits=np.packbits(mask), shape=mask.shape)


@dataclass(frozen=True, eq=False)
class Supervoxel:
    """One 3D pseudo-label, held as a crop so that memory goes with its size and not with the volume's.

    Attributes:
        mask: boolean array (z, y, x), True inside; every face of the box touches the object. It is held as bits, of
            which every access makes a new array.
        shape: of the mask, (z, y, x) in voxels.
        origin: voxel index (z, y, x) of `mask[0, 0, 0]` in the volume.
        axis: array axis (0, 1 or 2) along which the volume was sliced.
        keyframe: index along `axis` of the slice on which SAM proposed the object.
        predicted_iou: SAM's own estimate of the proposal's quality, 0 to 1.
        stability_score: SAM's stability score of the proposal, 0 to 1.
    """

    mask: np.ndarray = _PackedMask()
    origin: tuple[int, int, int]
    axis: int
    keyframe: int
    predicted_iou: float
    stability_score: float

    @cached_property
    def voxels(self) -> int:
        """Number of voxels inside."""
        return int(np.count_nonzero(self.mask))

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Where the crop lies in the volume, as an index."""
        return tuple(slice(start, start + size) for start, size in zip(self.origin, self.shape, strict=True))

    @property
    def bounding_box(self) -> list[list[int]]:
        """[[z0, z1], [y0, y1], [x0, x1]] in voxels, upper ends exclusive."""
        return [[s.start, s.stop] for s in self.slices]


@dataclass(frozen=True, eq=False)
class SupervoxelSet:
    """The supervoxels of one case.

    Attributes:
        shape: the volume's shape (z, y, x) in voxels.
        supervoxels: the pseudo-labels, in the order in which they are stored.
        spacing: voxel size (z, y, x) in mm.
        notes: what a user should know of this case ("12 voxels are not finite ..."), one sentence each.
    """

    shape: tuple[int, int, int]
    supervoxels: tuple[Supervoxel, ...]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.supervoxels)

    @property
    def voxels(self) -> int:
        """Sum of all supervoxels' voxels."""
        return sum(supervoxel.voxels for supervoxel in self.supervoxels)

    def to_array(self) -> np.ndarray:
        """The whole stack: uint8 array (n, z, y, x) of 0 and 1."""
        array = np.zeros((len(self), *self.shape), np.uint8)
        for channel, supervoxel in zip(array, self.supervoxels, strict=True):
            channel[supervoxel.slices] = supervoxel.mask
        return array
