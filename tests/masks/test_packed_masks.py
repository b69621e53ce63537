import numpy as np
import pytest

from nnunetv2_supervoxel.masks import packed_masks
from nnunetv2_supervoxel.masks.boxes import bounding_box
from nnunetv2_supervoxel.masks.packed_masks import PackedMask


@pytest.fixture(params=[1, 1 << 21], ids=["slabs of 8 rows", "one slab"])
def packed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, mask: np.ndarray) -> PackedMask:
    monkeypatch.setattr(packed_masks, "_SLAB_VOXELS", request.param)
    return PackedMask.of(mask)


@pytest.fixture
def mask(rng: np.random.Generator) -> np.ndarray:
    mask = np.zeros((21, 5, 7), bool)  # 35 voxels a row: rows begin in the middle of bytes
    mask[2:19, 1:4, 2:7] = rng.random((17, 3, 5)) < 0.4
    return mask


def test_any_rows_are_those_of_the_mask(packed: PackedMask, mask: np.ndarray) -> None:
    np.testing.assert_array_equal(packed.whole(), mask)
    for start, stop in ((0, 1), (3, 4), (7, 9), (5, 21), (4, 4)):
        rows = packed.rows(start, stop)
        assert rows.dtype == bool
        np.testing.assert_array_equal(rows, mask[start:stop])


def test_count_box_and_crop(packed: PackedMask, mask: np.ndarray) -> None:
    assert packed.count() == np.count_nonzero(mask)
    assert packed.bounding_box() == bounding_box(mask)
    box = (slice(3, 20), slice(1, 3), slice(2, 7))
    np.testing.assert_array_equal(packed.cropped(box).whole(), mask[box])
    assert packed.cropped((slice(0, 21), slice(0, 5), slice(0, 7))) is packed


def test_an_empty_mask() -> None:
    nothing = PackedMask.of(np.zeros((4, 5, 6), bool))
    assert nothing.bounding_box() is None
    assert nothing.count() == 0
    assert PackedMask.of(np.zeros((0, 5, 6), bool)).whole().shape == (0, 5, 6)
