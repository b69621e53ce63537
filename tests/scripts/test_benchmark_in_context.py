"""scripts/benchmark_in_context.py: where it looks, and what it measures."""

from __future__ import annotations

import numpy as np
import pytest
from benchmark_in_context import PATCH, patches, scores


def test_each_side_of_a_structure_has_a_patch_around_it_alone() -> None:
    labels = np.zeros((50, 66, 78), np.int16)
    labels[20:26, 30:40, 60:64] = 3  # the right side comes first in scanning order, and is smaller
    labels[22:30, 30:40, 10:16] = 3
    labels[40:42, 5, 5] = 3  # debris
    labels[0:10, 0:10, 0:10] = 2
    image = np.arange(labels.size, dtype=np.float32).reshape(1, *labels.shape)
    left, right = patches(image, labels, 3)
    for (view, mask), voxels, where in ((left, 480, (26, 35, 13)), (right, 240, (23, 35, 62))):
        assert view.shape == (1, *PATCH)
        assert mask.shape == PATCH
        assert np.count_nonzero(mask) == voxels
        assert mask[np.nonzero(view[0] == image[(0, *where)])].all()  # the image's voxel in the structure
    assert patches(image, labels, 1) == []


def test_dice_with_the_learned_threshold_and_with_the_best() -> None:
    truth = np.array([True, True, False, False])
    assert scores(np.array([3.0, 1.0, 0.5, -4.0]), truth) == (pytest.approx(0.8), 1.0)
    assert scores(np.array([-3.0, -4.0, -5.0, -6.0]), truth) == (0.0, 1.0)
    assert scores(np.array([1.0, -1.0, 2.0, -9.0]), truth) == (0.5, pytest.approx(0.8))
