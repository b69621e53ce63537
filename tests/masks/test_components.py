import cc3d
import numpy as np
import pytest

from nnunetv2_supervoxel.masks import packed_masks
from nnunetv2_supervoxel.masks.components import seed_component
from nnunetv2_supervoxel.masks.packed_masks import PackedMask


def component_of(mask: np.ndarray, seed: np.ndarray) -> np.ndarray | None:
    component = seed_component(PackedMask.of(mask), PackedMask.of(seed))
    return None if component is None else component.whole()


def test_only_the_part_connected_with_the_seed_stays() -> None:
    mask = np.zeros((5, 12, 20), bool)
    mask[0:3, 2:6, 3:9] = True
    mask[3, 6, 9] = True  # touches by a corner: 26-connected
    mask[2:5, 9:11, 15:18] = True  # apart
    seed = np.zeros_like(mask)
    seed[1, 3:5, 4:6] = True
    expected = mask.copy()
    expected[2:5, 9:11, 15:18] = False
    np.testing.assert_array_equal(component_of(mask, seed), expected)


def test_of_two_components_the_one_with_more_of_the_seed_stays() -> None:
    mask = np.zeros((3, 10, 14), bool)
    mask[:, 1:4, 1:12] = True
    mask[:, 6:9, 1:3] = True
    seed = np.zeros_like(mask)
    seed[1, 1:9, 1:3] = True
    seed[1, 6:9, 5:9] = True  # part of the seed lies outside of the mask
    mask[:, 1:4, 1:2] = False
    component = component_of(mask, seed)
    assert component[:, 6:9].sum() == 18
    assert not component[:, 1:4].any()


@pytest.mark.parametrize("case", range(6))
def test_slabs_change_nothing(case: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A maze that winds through many slabs; labels of one slab are often one component only by way of another."""
    rng = np.random.default_rng(case)
    mask = rng.random((50, 13, 21)) < 0.055  # near the density at which 26-connected components span the volume
    mask[20:24, 4:9, 3:11] = True
    seed = np.zeros_like(mask)
    seed[23, 2:9, 3:18] = True
    labels = cc3d.connected_components(mask, connectivity=26)
    votes = np.bincount(labels[seed])
    expected = labels == votes[1:].argmax() + 1
    assert 60 < expected.sum() < mask.sum()
    monkeypatch.setattr(packed_masks, "_SLAB_VOXELS", 1)  # slabs of 8 slices
    np.testing.assert_array_equal(component_of(mask, seed), expected)


def test_a_seed_outside_of_the_mask_has_no_component() -> None:
    mask = np.zeros((3, 5, 7), bool)
    mask[0, 0, 0] = True
    seed = np.zeros_like(mask)
    seed[2, 4, 6] = True
    assert component_of(mask, seed) is None
