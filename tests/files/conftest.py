"""Supervoxels to write."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from nnunetv2_supervoxel import Supervoxel, SupervoxelSet
from nnunetv2_supervoxel.masks.packed_masks import PackedMask

SHAPE = (17, 40, 65)


@pytest.fixture
def some_supervoxels() -> Callable[[np.random.Generator], SupervoxelSet]:
    """Three, of which the second is a single voxel in a far corner and the first overlaps the third."""

    def make(rng: np.random.Generator) -> SupervoxelSet:
        return SupervoxelSet(
            SHAPE,
            (
                Supervoxel(PackedMask.of(rng.random((9, 20, 31)) < 0.7), (2, 5, 20), 0, 6, 0.91, 0.95),
                Supervoxel(PackedMask.of(np.ones((1, 1, 1), bool)), (16, 39, 64), 0, 16, 0.8, 0.9),
                Supervoxel(PackedMask.of(np.ones((3, 30, 4), bool)), (4, 0, 30), 0, 6, 0.7, 0.93),
            ),
            (3.0, 0.5, 0.7),
            ("a note",),
        )

    return make
