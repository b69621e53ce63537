"""What generation makes of one case: supervoxels, each kept in its bounding box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.ndimage import find_objects

from nnunetv2_supervoxel.masks.packed_masks import PackedMask


@dataclass(frozen=True, eq=False)
class Supervoxel:
    """One 3D pseudo-label, kept as a crop. So its memory depends on its own size and not on the volume's.

    Attributes:
        packed: the mask as bits, boolean (z, y, x), True inside; every face of the crop touches the object.
        origin: voxel index (z, y, x) of `mask[0, 0, 0]` in the volume.
        axis: array axis (0, 1 or 2) along which the volume was sliced.
        keyframe: index along `axis` of the slice on which SAM proposed the object, or else of that with most voxels.
        predicted_iou: SAM's own estimate of the proposal's quality, 0 to 1; None if SAM didn't make it.
        stability_score: SAM's stability score of the proposal, 0 to 1; None if SAM didn't make it.
        consistency: Dice of the seed with what comes back to it if the track's ends are tracked back, the lower one of
            both directions; None if that wasn't tried, or if the track never left its seed.
    """

    packed: PackedMask
    origin: tuple[int, int, int]
    axis: int
    keyframe: int
    predicted_iou: float | None = None
    stability_score: float | None = None
    consistency: float | None = None

    @property
    def mask(self) -> np.ndarray:
        """The mask as a new boolean array (z, y, x)."""
        return self.packed.whole()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the mask, (z, y, x) in voxels."""
        return self.packed.shape

    @cached_property
    def voxels(self) -> int:
        """Number of voxels inside."""
        return self.packed.count()

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Where the crop lies in the volume, as an index."""
        z, y, x = (slice(start, start + size) for start, size in zip(self.origin, self.shape, strict=True))
        return z, y, x

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
        notes: what a user should know about this case ("12 voxels are not finite ..."), one sentence each.
        dropped: how many were made and didn't stay, by reason.
    """

    shape: tuple[int, int, int]
    supervoxels: tuple[Supervoxel, ...]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    notes: tuple[str, ...] = field(default=())
    dropped: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of_labels(cls, labels: np.ndarray, least: int = 1, most: float = np.inf) -> SupervoxelSet:
        """The regions of a label map as supervoxels, in the order of their labels.

        The map may hold the true objects, or the segments of another method.

        Args:
            labels: integer (z, y, x): the region's number, from 1 on; 0 where there is no region.
            least: voxels of the smallest region that is taken.
            most: voxels of the largest region that is taken.
        """
        supervoxels = []
        for label, box in enumerate(find_objects(labels), 1):
            mask = None if box is None else PackedMask.of(labels[box] == label)
            if mask is not None and least <= mask.count() <= most:
                origin = tuple(side.start for side in box)
                supervoxels.append(Supervoxel(mask, origin, axis=0, keyframe=_fullest(mask) + origin[0]))
        return cls(labels.shape, tuple(supervoxels))

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


def _fullest(mask: PackedMask) -> int:
    """Index of the slice with most voxels."""
    return int(np.argmax(np.concatenate([np.count_nonzero(slab, axis=(1, 2)) for _, slab in mask.slabs()])))
