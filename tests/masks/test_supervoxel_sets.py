import numpy as np

from nnunetv2_supervoxel import Supervoxel, SupervoxelSet
from nnunetv2_supervoxel.masks.packed_masks import PackedMask


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


def test_a_map_of_labels_becomes_supervoxels_where_its_regions_are(rng: np.random.Generator) -> None:
    labels = np.zeros((5, 7, 11), np.int16)
    labels[1:3, 2:6, 3:10] = 4
    labels[2, 5, 8:] = 2  # overwrites a corner
    labels[4, 0, 0] = 7
    found = SupervoxelSet.of_labels(labels)
    np.testing.assert_array_equal(found.to_array(), np.stack([labels == 2, labels == 4, labels == 7]))
    assert found.supervoxels[1].bounding_box == [[1, 3], [2, 6], [3, 10]]
    assert [one.voxels for one in SupervoxelSet.of_labels(labels, least=2).supervoxels] == [3, 54]
    assert [one.voxels for one in SupervoxelSet.of_labels(labels, most=3).supervoxels] == [3, 1]
