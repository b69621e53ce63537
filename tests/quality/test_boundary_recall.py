"""Boundary recall where the boundary is one layer of voxels, at x = 4."""

from __future__ import annotations

import numpy as np
import pytest

from nnunetv2_supervoxel.quality.boundary_recall import boundary, boundary_recall
from nnunetv2_supervoxel.quality.overlap_counts import Overlaps
from nnunetv2_supervoxel.quality.structures import find_structures

SHAPE = (4, 5, 12)


def recall(cuboids, supervoxels_of, *supervoxels) -> float:
    """Of a structure that fills x = 0 to 4. At the volume's border it has no boundary."""
    structures = find_structures(cuboids(((0, 4), (0, 5), (0, 5)), shape=SHAPE).astype(np.uint8))
    masks = [cuboids(one, shape=SHAPE) for one in supervoxels]
    whole, component = boundary_recall(Overlaps(supervoxels_of(*masks), structures))
    assert whole == component
    return whole


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        (((0, 4), (0, 5), (0, 5)), 1),  # the structure
        (((0, 4), (0, 5), (0, 6)), 1),  # one voxel further
        (((0, 4), (0, 5), (0, 4)), 1),  # one voxel less
        (((0, 4), (0, 5), (0, 7)), 0),  # two voxels further
        (((0, 4), (0, 5), (5, 12)), 1),  # what lies on the other side
        (((0, 4), (0, 2), (0, 5)), 3 / 5),  # rows 0 and 1, and row 2 by one voxel
        (((0, 1), (0, 5), (0, 5)), 2 / 4),  # slice 0, and slice 1 by one voxel
        (((0, 4), (0, 5), (0, 12)), 0),  # the whole volume has no boundary
    ],
)
def test_one_supervoxel(sides, expected, cuboids, supervoxels_of) -> None:
    assert recall(cuboids, supervoxels_of, sides) == pytest.approx(expected)


def test_boundaries_of_all_supervoxels_count(cuboids, supervoxels_of) -> None:
    upper, lower = ((0, 4), (0, 1), (0, 5)), ((0, 4), (4, 5), (0, 6))  # rows 0 and 1; rows 3 and 4
    assert recall(cuboids, supervoxels_of, upper, lower) == pytest.approx(4 / 5)


def test_a_structure_without_boundary_has_no_recall(cuboids, supervoxels_of) -> None:
    full = np.ones(SHAPE, np.uint8)
    assert np.isnan(boundary_recall(Overlaps(supervoxels_of(full > 0), find_structures(full)))).all()


def test_the_boundary_lies_on_both_sides_of_a_face(cuboids) -> None:
    found = boundary(cuboids(((1, 3), (2, 4), (5, 8)), shape=SHAPE))
    assert found.sum() == 2 * 2 * 3 + 2 * (2 * 2 + 2 * 3 + 2 * 3)  # all 12 voxels are boundary; their six faces' others
