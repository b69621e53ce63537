"""What is said without labels, on cuboids that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nnunetv2_supervoxel.masks.foreground import foreground
from nnunetv2_supervoxel.quality.description import describe, grey_levels


def test_sizes_coverage_overlap_and_duplicates(cuboids, supervoxels_of) -> None:
    first = cuboids(((0, 2), (0, 5), (0, 10)))  # 100 voxels
    near_copy = cuboids(((0, 2), (0, 5), (0, 9)))  # 90, IoU 0.9
    shifted = cuboids(((0, 2), (0, 5), (1, 11)))  # 100, IoU 90 / 110 with the first, 80 / 110 with the copy
    apart = cuboids(((3, 6), (6, 10), (0, 2)))  # 24
    inside = cuboids(((0, 6), (0, 10), (0, 10)))  # 600
    described = describe(supervoxels_of(first, near_copy, shifted, apart, axis=1), inside)
    assert described.voxels == (100, 90, 100, 24)
    assert described.slices == (5, 5, 5, 4)
    assert described.coverage == pytest.approx((100 + 24) / 600)  # ten voxels lie outside the foreground
    assert described.overlap == pytest.approx(314 / (110 + 24))
    assert described.duplicates == 1


def test_slices_are_those_of_the_own_axis(cuboids, supervoxels_of) -> None:
    mask = cuboids(((1, 3), (2, 7), (4, 12)))
    assert [describe(supervoxels_of(mask, axis=axis), mask).slices[0] for axis in range(3)] == [2, 5, 8]


def test_what_can_not_be_said_is_nan(cuboids, supervoxels_of) -> None:
    nothing = np.zeros((6, 10, 15), bool)
    described = describe(supervoxels_of(nothing), nothing)
    assert described.voxels == described.slices == (0,)
    assert np.isnan([described.coverage, described.overlap]).all()
    assert describe(type(supervoxels_of(nothing))(nothing.shape, ()), ~nothing).coverage == 0


def test_a_few_bright_voxels_do_not_decide_what_is_foreground(rng, cuboids) -> None:
    body, hole = cuboids(((1, 5), (2, 8), (3, 13))), cuboids(((2, 4), (4, 6), (6, 9)))
    image = np.where(body & ~hole, 100.0, 0.0) + rng.normal(0, 3, body.shape)
    image[3, 3, 4], image[2, 2, 5], image[5, 9, 14] = 1e6, np.inf, np.nan
    np.testing.assert_array_equal(foreground(grey_levels(image)), body)


def test_grey_levels(rng) -> None:
    image = rng.permutation(np.linspace(-30, 70, 4000)).reshape(10, 20, 20).astype(np.float32)
    levels = grey_levels(image)
    low, high = np.percentile(image, (0.5, 99.5))
    assert levels.dtype == np.uint8
    assert (levels[image <= low] == 0).all()
    assert (levels[image >= high] == 255).all()
    middle = (image > low) & (image < high)
    np.testing.assert_allclose(levels[middle] / 255, (image[middle] - low) / (high - low), atol=0.5 / 255 + 1e-6)


def test_images_without_contrast_or_numbers() -> None:
    assert not grey_levels(np.full((3, 4, 5), 7.0)).any()
    assert not grey_levels(np.full((3, 4, 5), np.nan)).any()
    speck = np.zeros((20, 20, 20))
    speck[3, 4, 5] = 2.0
    assert grey_levels(speck)[3, 4, 5] == 255
