import numpy as np

from nnunetv2_supervoxel import Supervoxel
from nnunetv2_supervoxel.packed_mask import PackedMask


def test_a_mask_kept_as_bits_is_the_mask_that_was_given(rng: np.random.Generator) -> None:
    mask = np.moveaxis(rng.random((5, 7, 11)) < 0.5, 0, 1)  # not contiguous, and no multiple of 8 voxels
    supervoxel = Supervoxel(PackedMask.of(mask), (1, 2, 3), 1, 4, 0.9, 0.8)
    assert supervoxel.mask.dtype == bool
    np.testing.assert_array_equal(supervoxel.mask, mask)
    assert supervoxel.shape == (7, 5, 11)
    assert supervoxel.slices == (slice(1, 8), slice(2, 7), slice(3, 14))
    assert supervoxel.voxels == np.count_nonzero(mask)
    before = supervoxel.mask.copy()
    supervoxel.mask[:] = False  # each access gives a new array
    np.testing.assert_array_equal(supervoxel.mask, before)
