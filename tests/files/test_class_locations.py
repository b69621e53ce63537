"""Class locations: sampled, written, read and rewritten."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import blosc2
import numpy as np
import pytest

from nnunetv2_supervoxel import Supervoxel, SupervoxelSet, UserError
from nnunetv2_supervoxel.files import class_locations, supervoxel_files
from nnunetv2_supervoxel.masks import packed_masks
from nnunetv2_supervoxel.masks.packed_masks import PackedMask

SHAPE = (17, 40, 65)

Make = Callable[[np.random.Generator], SupervoxelSet]


def read_sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_class_locations_are_nnunets_and_point_at_ones(
    some_supervoxels: Make, tmp_path: Path, rng: np.random.Generator
) -> None:
    supervoxels = some_supervoxels(rng)
    supervoxel_files.write_case(tmp_path, "case", supervoxels, {})
    locations = pickle.loads((tmp_path / "case.pkl").read_bytes())["class_locations"]
    stack = supervoxels.to_array()
    assert list(locations) == [1, 2, 3]
    for key, rows in locations.items():
        assert np.issubdtype(rows.dtype, np.integer)
        assert rows.shape == (stack[key - 1].sum(), 4)  # all of them, as there are fewer than 10,000
        assert (rows[:, 0] == key - 1).all()
        assert stack[tuple(rows.T)].all()
        assert len(np.unique(rows, axis=0)) == len(rows)


def test_large_supervoxels_are_sampled() -> None:
    rows = class_locations.sample_locations(
        PackedMask.of(np.ones((30, 40, 50), bool)), (1, 2, 3), 5, np.random.default_rng(0)
    )
    assert rows.shape == (10_000, 4)
    assert len(np.unique(rows, axis=0)) == 10_000
    assert (rows.min(0) == (5, 1, 2, 3)).all()
    assert (rows.max(0) == (5, 30, 41, 52)).all()
    rows = class_locations.sample_locations(
        PackedMask.of(np.ones((100, 110, 120), bool)), (0, 0, 0), 0, np.random.default_rng(0)
    )
    assert len(rows) == 13_200  # 1 %


def test_sampling_slab_by_slab_changes_nothing(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = PackedMask.of(rng.random((29, 40, 50)) < 0.6)
    at_once = class_locations.sample_locations(mask, (1, 2, 3), 5, np.random.default_rng(0))
    inside = np.flatnonzero(mask.whole())
    drawn = np.sort(np.random.default_rng(0).choice(inside, 10_000, replace=False, shuffle=False))
    np.testing.assert_array_equal(at_once[:, 1:] - (1, 2, 3), np.stack(np.unravel_index(drawn, mask.shape), axis=1))
    monkeypatch.setattr(packed_masks, "_SLAB_VOXELS", 1)
    np.testing.assert_array_equal(
        at_once, class_locations.sample_locations(mask, (1, 2, 3), 5, np.random.default_rng(0))
    )


def test_nnunets_own_dataloader_takes_the_locations(
    some_supervoxels: Make, tmp_path: Path, rng: np.random.Generator
) -> None:
    from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

    class Loader(nnUNetDataLoader):
        def __init__(self) -> None:
            self.patch_size, self.need_to_pad, self.has_ignore = (8, 16, 16), np.zeros(3, int), False
            self.annotated_classes_key = (-1,)

    supervoxel_files.write_case(tmp_path, "case", some_supervoxels(rng), {})
    locations = pickle.loads((tmp_path / "case.pkl").read_bytes())["class_locations"]
    low, high = Loader().get_bbox(np.array(SHAPE), True, locations, overwrite_class=2)
    assert all(a <= p < b for a, p, b in zip(low, (16, 39, 64), high, strict=True))


def test_locations_follow_from_the_array(tmp_path: Path, rng: np.random.Generator) -> None:
    mask = rng.random((16, 39, 60)) < 0.5  # large enough to be sampled
    big = Supervoxel(PackedMask.of(mask), (1, 1, 3), 0, 3, 0.9, 0.9)
    supervoxel_files.write_case(tmp_path, "case", SupervoxelSet(SHAPE, (big, big)), {})
    before = read_sha(tmp_path / "case.pkl")
    (tmp_path / "case.pkl").unlink()
    assert supervoxel_files.rewrite_locations(tmp_path, "case") == 2
    assert read_sha(tmp_path / "case.pkl") == before
    assert sorted(os.listdir(tmp_path)) == ["case.b2nd", "case.json", "case.pkl"]


@pytest.mark.parametrize("layout", [{}, {"chunks": (2, 5, 16, 32)}, {"chunks": (1, 17, 7, 9), "blocks": (1, 4, 7, 5)}])
def test_locations_of_any_array_are_those_of_a_plain_search(
    tmp_path: Path, rng: np.random.Generator, layout: dict
) -> None:
    stack = np.zeros((4, *SHAPE), np.uint8)
    stack[0, :, 30:, 40:] = rng.random((17, 10, 25)) < 0.3  # to the far corner
    stack[1, 3, 0, 0] = stack[1, 3, 39, 1] = 1  # far apart
    stack[3] = rng.random(SHAPE) < 0.5  # large enough to be sampled; number 2 is empty
    array = blosc2.zeros(stack.shape, np.uint8, urlpath=str(tmp_path / "case.b2nd"), **layout)
    for channel in (0, 1, 3):
        array[channel] = stack[channel]
    array[2] = 1
    array[2] = 0  # zeros that are stored
    assert supervoxel_files.rewrite_locations(tmp_path, "case") == 4
    locations = supervoxel_files.read_locations(tmp_path, "case")
    for channel in (0, 1, 2):
        plain = np.argwhere(stack[channel])
        np.testing.assert_array_equal(locations[channel + 1], np.insert(plain, 0, channel, axis=1))
    sampled = locations[4]
    assert len(sampled) == len(np.unique(sampled, axis=0)) == 10_000
    assert (stack[tuple(sampled.T)] == 1).all()
    assert (sampled[:, 0] == 3).all()


def test_an_array_of_nothing_has_no_locations(tmp_path: Path) -> None:
    blosc2.zeros((2, *SHAPE), np.uint8, urlpath=str(tmp_path / "case.b2nd"))
    assert supervoxel_files.rewrite_locations(tmp_path, "case") == 2
    assert [rows.shape for rows in supervoxel_files.read_locations(tmp_path, "case").values()] == [(0, 4), (0, 4)]


def test_the_older_layout_is_read(tmp_path: Path) -> None:
    first, second = np.array([[1, 2, 3], [4, 5, 6]]), np.array([[7, 8, 9]])
    (tmp_path / "case.pkl").write_bytes(pickle.dumps([{1: first}, {1: second}]))
    locations = supervoxel_files.read_locations(tmp_path, "case")
    np.testing.assert_array_equal(locations[1], [[0, 1, 2, 3], [0, 4, 5, 6]])
    np.testing.assert_array_equal(locations[2], [[1, 7, 8, 9]])


class _Harmful:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("harm",)


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", pickle.dumps({"class_locations": {1: np.ones((2, 4))}}), pickle.dumps([_Harmful()])],
    ids=["empty", "garbage", "floats", "code"],
)
def test_a_bad_pickle_is_refused_and_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "case.pkl").write_bytes(content)
    with pytest.raises(UserError, match="SuperVoxel_save_fg_location"):
        supervoxel_files.read_locations(tmp_path, "case")
    assert not (tmp_path / "harm").exists()


def test_a_truncated_array_is_one_clear_sentence(
    some_supervoxels: Make, tmp_path: Path, rng: np.random.Generator
) -> None:
    supervoxel_files.write_case(tmp_path, "case", some_supervoxels(rng), {})
    path = tmp_path / "case.b2nd"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"case\.b2nd"):
        supervoxel_files.rewrite_locations(tmp_path, "case")
