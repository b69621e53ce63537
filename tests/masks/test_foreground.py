import numpy as np
import pytest

from nnunetv2_supervoxel.masks.foreground import brighter_part, foreground


def test_holes_are_filled_and_bays_are_not(rng: np.random.Generator) -> None:
    body = np.zeros((9, 14, 21), bool)
    body[2:8, 2:12, 3:18] = True
    image = body * 50 + rng.normal(0, 1, body.shape)
    image[4:6, 5:8, 6:9] = 0  # a hole
    image[5, 6, 10:] = 0  # a bay, open to the right
    expected = body.copy()
    expected[5, 6, 10:] = False
    np.testing.assert_array_equal(foreground(image), expected)
    assert not brighter_part(image)[4, 5, 6]


def test_a_constant_image_is_all_foreground() -> None:
    assert foreground(np.full((2, 3, 4), 7.0)).all()


def test_a_volume_without_holes() -> None:
    image = np.zeros((3, 4, 5))
    image[1, 2, 3] = 1
    np.testing.assert_array_equal(foreground(image), image > 0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_holes_of_a_single_slice_are_filled(axis: int) -> None:
    plane = np.zeros((9, 11), np.float32)
    plane[2:7, 3:9] = 1
    filled = plane > 0
    plane[4, 5] = 0
    np.testing.assert_array_equal(foreground(np.expand_dims(plane, axis)), np.expand_dims(filled, axis))
