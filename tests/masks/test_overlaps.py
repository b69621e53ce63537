"""Pairs of supervoxels that overlap."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from nnunetv2_supervoxel.masks import overlaps
from nnunetv2_supervoxel.masks.boxes import bounding_box
from nnunetv2_supervoxel.masks.overlaps import overlapping_pairs
from nnunetv2_supervoxel.masks.packed_masks import PackedMask
from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel


def supervoxel_of(mask: np.ndarray) -> Supervoxel:
    box = bounding_box(mask)
    origin = tuple(side.start for side in box)
    return Supervoxel(PackedMask.of(mask[box]), origin, 0, origin[0], 1.0, 1.0)


def cuboid(*sides: tuple[int, int]) -> Supervoxel:
    mask = np.zeros((9, 14, 23), bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return supervoxel_of(mask)


def test_overlaps_of_cuboids_that_can_be_counted_by_hand() -> None:
    first = cuboid((1, 3), (2, 7), (4, 14))  # 100 voxels
    shifted = cuboid((1, 3), (2, 7), (5, 15))  # 90 shared, 110 in either
    half = cuboid((1, 2), (2, 7), (4, 14))  # 50 shared, of 100
    beside = cuboid((3, 5), (2, 7), (4, 14))  # touches, shares nothing
    pairs = list(overlapping_pairs([first, shifted, half, beside], 0.01))
    assert pairs == [(0, 1, 90 / 110), (0, 2, 50 / 100), (1, 2, 45 / 105)]


def test_a_pair_at_the_threshold_is_found() -> None:
    whole, part = cuboid((0, 2), (0, 5), (0, 10)), cuboid((0, 2), (0, 5), (0, 9))
    assert list(overlapping_pairs([whole, part], 0.9)) == [(0, 1, 0.9)]
    assert list(overlapping_pairs([whole, part], 0.91)) == []
    assert list(overlapping_pairs([whole, whole], 1.0)) == [(0, 1, 1.0)]


@pytest.mark.parametrize("least_iou", [0.02, 0.2, 0.5])
def test_no_pair_is_missed_among_odd_shapes(rng: np.random.Generator, least_iou: float) -> None:
    masks = []
    for _ in range(40):
        low = rng.integers(0, (4, 6, 9))
        high = low + rng.integers(2, (6, 9, 15))
        mask = np.zeros((9, 14, 23), bool)
        mask[tuple(map(slice, low, high))] = True
        masks.append(mask & (rng.random(mask.shape) < 0.95))
    ious = {(i, j): (masks[i] & masks[j]).sum() / (masks[i] | masks[j]).sum() for i, j in combinations(range(40), 2)}
    expected = [(i, j, iou) for (i, j), iou in ious.items() if iou >= least_iou]
    assert expected
    assert list(overlapping_pairs([supervoxel_of(mask) for mask in masks], least_iou)) == expected


def test_sizes_and_boxes_spare_most_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    count = overlaps._shared_voxels
    monkeypatch.setattr(overlaps, "_shared_voxels", lambda *pair: compared.append(pair) or count(*pair))
    large, small = cuboid((0, 8), (0, 12), (0, 20)), cuboid((0, 4), (0, 12), (0, 20))
    apart, alike = cuboid((0, 8), (0, 12), (3, 23)), cuboid((0, 8), (0, 12), (0, 19))
    assert list(overlapping_pairs([large, small, apart, alike], 0.9)) == [(0, 3, 0.95)]
    assert len(compared) == 1


def test_of_none_and_of_empty_ones_there_are_no_pairs() -> None:
    nothing = Supervoxel(PackedMask.of(np.zeros((0, 0, 0), bool)), (0, 0, 0), 0, 0, 1.0, 1.0)
    assert list(overlapping_pairs([], 0.5)) == []
    assert list(overlapping_pairs([nothing, nothing, cuboid((0, 2), (0, 3), (0, 4))], 0.5)) == []
