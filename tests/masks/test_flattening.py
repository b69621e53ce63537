"""Overlapping supervoxels as one label map."""

from __future__ import annotations

import numpy as np

from nnunetv2_supervoxel import SupervoxelSet
from nnunetv2_supervoxel.masks.flattening import flatten, largest_first
from nnunetv2_supervoxel.masks.packed_masks import PackedMask
from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel

SHAPE = (5, 7, 9)


def block(origin: tuple[int, int, int], size: tuple[int, int, int]) -> Supervoxel:
    return Supervoxel(PackedMask.of(np.ones(size, bool)), origin, axis=0, keyframe=origin[0])


def test_smaller_ones_lie_on_top_whatever_their_order() -> None:
    small, large, middle = block((1, 2, 3), (1, 1, 2)), block((0, 0, 0), (5, 6, 7)), block((1, 1, 1), (2, 3, 4))
    supervoxels = SupervoxelSet(SHAPE, (small, large, middle))
    assert largest_first(supervoxels) == [1, 2, 0]
    labels = flatten(supervoxels)
    expected = np.zeros(SHAPE, int)
    expected[:5, :6, :7] = 2
    expected[1:3, 1:4, 1:5] = 3
    expected[1, 2, 3:5] = 1
    assert np.array_equal(labels, expected)
    assert not flatten(SupervoxelSet(SHAPE, ())).any()
