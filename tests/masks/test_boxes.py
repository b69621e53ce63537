import numpy as np

from nnunetv2_supervoxel.masks.boxes import bounding_box


def test_bounding_box_is_tight_on_every_axis() -> None:
    mask = np.zeros((7, 11, 13), bool)
    mask[2, 3, 12] = mask[5, 1, 4] = True
    assert bounding_box(mask) == (slice(2, 6), slice(1, 4), slice(4, 13))
    assert bounding_box(np.zeros((2, 3), bool)) is None
