"""Supervoxels to be measured, in a volume of three different sizes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from nnunetv2_supervoxel.masks.boxes import bounding_box
from nnunetv2_supervoxel.masks.packed_masks import PackedMask
from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel, SupervoxelSet

SHAPE = (6, 10, 15)

Cuboid = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def mask_of(*cuboids: Cuboid, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Boolean (z, y, x): first and one past the last voxel of each side of each cuboid."""
    mask = np.zeros(shape, bool)
    for cuboid in cuboids:
        mask[tuple(slice(*side) for side in cuboid)] = True
    return mask


@pytest.fixture
def cuboids() -> Callable[..., np.ndarray]:
    return mask_of


@pytest.fixture
def supervoxels_of() -> Callable[..., SupervoxelSet]:
    """Supervoxels from boolean masks (z, y, x), which may be empty."""

    def build(*masks: np.ndarray, axis: int = 0) -> SupervoxelSet:
        supervoxels = []
        for mask in masks:
            box = bounding_box(mask) or (slice(0, 0),) * 3
            origin = tuple(side.start for side in box)
            supervoxels.append(Supervoxel(PackedMask.of(mask[box]), origin, axis, origin[axis], 1.0, 1.0))
        return SupervoxelSet(masks[0].shape, tuple(supervoxels))

    return build
