"""Under-segmentation error, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nnunetv2_supervoxel.quality.overlap_counts import Overlaps
from nnunetv2_supervoxel.quality.structures import find_structures
from nnunetv2_supervoxel.quality.undersegmentation import undersegmentation_error

STRUCTURE = ((1, 3), (2, 6), (4, 10))  # 48 voxels
INSIDE = ((1, 3), (2, 6), (4, 7))  # 24
LEAKING = ((1, 3), (1, 7), (7, 10))  # 24 inside, 12 outside
GRAZING = ((2, 6), (5, 10), (9, 15))  # 1 x 1 x 1 inside, 119 outside


@pytest.mark.parametrize(
    ("supervoxels", "expected"),
    [
        ([INSIDE], 0),
        ([LEAKING], 12 / 24),
        ([INSIDE, LEAKING], 12 / 48),
        ([INSIDE, LEAKING, INSIDE, LEAKING], 24 / 96),  # twice the same: the same error
        ([GRAZING], 1),
        ([INSIDE, LEAKING, GRAZING], 13 / 49),
    ],
)
def test_the_smaller_part_is_the_error(supervoxels, expected, cuboids, supervoxels_of) -> None:
    structures = find_structures(cuboids(STRUCTURE).astype(np.uint8))
    overlaps = Overlaps(supervoxels_of(*map(cuboids, supervoxels)), structures)
    assert undersegmentation_error(overlaps) == pytest.approx([expected] * 2)


def test_of_a_partition_it_is_that_of_neubert_and_protzel(rng, supervoxels_of) -> None:
    labels = (rng.random((6, 10, 15)) < 0.5).astype(np.uint8)
    segments = np.repeat(rng.integers(0, 7, (6, 10, 5)), 3, axis=2)
    masks = [segments == number for number in range(7)]
    inside = [(mask & (labels > 0)).sum() for mask in masks]
    outside = [(mask & (labels == 0)).sum() for mask in masks]
    error = undersegmentation_error(Overlaps(supervoxels_of(*masks), find_structures(labels)))[0]
    assert error == pytest.approx(np.minimum(inside, outside).sum() / labels.sum())


def test_there_is_none_where_no_supervoxel_is(cuboids, supervoxels_of) -> None:
    labels = 1 * cuboids(STRUCTURE) + 2 * cuboids(((5, 6), (0, 1), (0, 3)))
    error = undersegmentation_error(Overlaps(supervoxels_of(cuboids(INSIDE)), find_structures(labels)))
    np.testing.assert_array_equal(error, [0, 0, np.nan, np.nan])
