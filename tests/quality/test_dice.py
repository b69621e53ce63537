"""Dice with the best supervoxel, and with a union, on cuboids that can be counted by hand."""

from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest

from nnunetv2_supervoxel.quality.dice import achievable_dice, best_dice
from nnunetv2_supervoxel.quality.overlap_counts import Overlaps
from nnunetv2_supervoxel.quality.structures import find_structures

STRUCTURE = ((1, 3), (2, 6), (4, 10))  # 2 x 4 x 6 = 48 voxels
LEFT = ((1, 3), (2, 6), (4, 7))  # 24, all inside
RIGHT = ((1, 3), (1, 7), (7, 10))  # 36, of which 24 are inside
AROUND = ((0, 6), (0, 10), (0, 15))  # all 900


@pytest.fixture
def measured(cuboids, supervoxels_of):
    """Overlaps of supervoxels, each one cuboid, with the structure."""

    def measure(*supervoxels, structure=STRUCTURE):
        labels = cuboids(structure).astype(np.uint8)
        return Overlaps(supervoxels_of(*map(cuboids, supervoxels)), find_structures(labels))

    return measure


def test_shared_voxels(measured) -> None:
    shared = measured(LEFT, ((0, 1), (0, 2), (0, 2)), RIGHT).shared.toarray()
    np.testing.assert_array_equal(shared, [[24, 24], [0, 0], [24, 24]])  # the label as a whole, its one component


def test_the_best_supervoxel_counts(measured) -> None:
    assert best_dice(measured(RIGHT)) == pytest.approx([2 * 24 / (48 + 36)] * 2)
    assert best_dice(measured(AROUND, RIGHT, LEFT)) == pytest.approx([2 * 24 / (48 + 24)] * 2)
    assert best_dice(measured(STRUCTURE)) == pytest.approx([1, 1])


def test_a_union_of_supervoxels_that_lie_mostly_inside(measured) -> None:
    assert achievable_dice(measured(LEFT, RIGHT, AROUND)) == pytest.approx([2 * 48 / (48 + 60)] * 2)
    halves = (LEFT, ((1, 3), (2, 6), (7, 10)))
    assert achievable_dice(measured(*halves)) == pytest.approx([1, 1])
    below_half = ((1, 3), (0, 10), (7, 10))  # 60 voxels, of which 24 are inside
    assert achievable_dice(measured(LEFT, below_half)).tolist() == best_dice(measured(LEFT, below_half)).tolist()


def test_what_only_adds_voxels_outside_is_not_taken(measured) -> None:
    leaking_left = ((1, 3), (0, 6), (4, 7))  # 36, of which 24 are inside, all of them in LEFT
    assert achievable_dice(measured(leaking_left, RIGHT, LEFT)) == pytest.approx([2 * 48 / (48 + 60)] * 2)


def test_the_best_supervoxel_counts_where_no_union_is_better(measured) -> None:
    larger = ((0, 4), (2, 6), (4, 10))  # 96, half of which are inside
    speck = ((1, 2), (2, 3), (4, 6))  # 2, inside
    assert achievable_dice(measured(larger, speck)) == pytest.approx([2 * 48 / (48 + 96)] * 2)
    too_large = ((0, 5), (2, 6), (4, 10))  # 120: less than half, so in no union
    assert achievable_dice(measured(too_large, speck, speck)) == pytest.approx([2 * 48 / (48 + 120)] * 2)


def test_a_structure_that_no_supervoxel_touches(measured) -> None:
    far = ((4, 6), (7, 10), (12, 15))
    assert best_dice(measured(far)).tolist() == achievable_dice(measured(far)).tolist() == [0, 0]


def test_no_supervoxels_and_empty_ones(cuboids, supervoxels_of) -> None:
    structures = find_structures(cuboids(STRUCTURE).astype(np.uint8))
    empty = supervoxels_of(np.zeros((6, 10, 15), bool))
    for supervoxels in (empty, type(empty)(empty.shape, ())):
        assert achievable_dice(Overlaps(supervoxels, structures)).tolist() == [0, 0]


def test_a_label_as_a_whole_may_be_better_or_worse_than_its_components(cuboids, supervoxels_of) -> None:
    one, other = ((0, 2), (0, 3), (0, 4)), ((3, 5), (5, 8), (9, 13))  # 24 voxels each
    labels = cuboids(one, other).astype(np.uint8)
    both = Overlaps(supervoxels_of(cuboids(one), cuboids(other)), find_structures(labels))
    assert best_dice(both) == pytest.approx([2 * 24 / (24 + 48), 1, 1])
    assert achievable_dice(both) == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("seed", range(5))
def test_the_union_lies_between_the_best_supervoxel_and_the_best_of_all_unions(seed, cuboids, supervoxels_of) -> None:
    rng = np.random.default_rng(seed)
    structure = cuboids(STRUCTURE)
    masks = []
    for _ in range(6):
        low = rng.integers(0, (2, 4, 8))
        masks.append(cuboids(tuple(zip(low, low + rng.integers(1, (4, 5, 6)), strict=True))))
    overlaps = Overlaps(supervoxels_of(*masks), find_structures(structure.astype(np.uint8)))

    def dice(chosen):
        union = np.any(chosen, axis=0)
        return 2 * (union & structure).sum() / (union.sum() + structure.sum())

    unions = chain.from_iterable(combinations(masks, size) for size in range(1, 7))
    assert best_dice(overlaps)[0] == pytest.approx(max(dice([mask]) for mask in masks))
    assert best_dice(overlaps)[0] <= achievable_dice(overlaps)[0] <= max(map(dice, unions)) + 1e-12
