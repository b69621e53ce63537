"""2,000 supervoxels in one case: written, read, rewritten and drawn from at what they cost today, each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunetv2_supervoxel import Supervoxel, SupervoxelSet
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.masks.packed_masks import PackedMask
from nnunetv2_supervoxel.training.dataset import PromptDataset

SHAPE = (60, 90, 120)
MANY = 2000


@pytest.fixture(scope="module")
def many() -> SupervoxelSet:
    rng = np.random.default_rng(0)

    def one() -> Supervoxel:
        size = rng.integers(3, 14, 3)
        z, y, x = (int(rng.integers(0, whole - part)) for whole, part in zip(SHAPE, size, strict=True))
        mask = rng.random(size) < 0.8
        for axis in range(3):
            np.moveaxis(mask, axis, 0)[[0, -1], 0, 0] = True  # every face is touched
        return Supervoxel(PackedMask.of(mask), (z, y, x), 0, z, 0.9, 0.9)

    return SupervoxelSet(SHAPE, tuple(one() for _ in range(MANY)))


@pytest.fixture(scope="module")
def folder(many: SupervoxelSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    supervoxel_files.write_case(folder, "case", many, {}, (32, 48, 48))
    return folder


def test_every_one_is_where_it_was(many: SupervoxelSet, folder: Path) -> None:
    array = supervoxel_files.open_array(folder, "case")
    assert array.shape == (MANY, *SHAPE)
    for number in (0, 254, 255, 256, 1024, MANY - 1):
        expected = np.zeros(SHAPE, np.uint8)
        expected[many.supervoxels[number].slices] = many.supervoxels[number].mask
        np.testing.assert_array_equal(array[number], expected)
    assert supervoxel_files.read_provenance(folder, "case")["n"] == MANY


def test_class_locations_stay_small(many: SupervoxelSet, folder: Path) -> None:
    locations = supervoxel_files.read_locations(folder, "case")
    assert list(locations) == list(range(1, MANY + 1))
    array = supervoxel_files.open_array(folder, "case")
    for key in (1, 256, 257, MANY):
        rows, voxels = locations[key], many.supervoxels[key - 1].voxels
        assert len(rows) == min(voxels, max(100, 100 * voxels // 100_000))
        assert (rows[:, 0] == key - 1).all()
        assert (array[key - 1][tuple(rows[:, 1:].T)] == 1).all()
    assert (folder / "case.pkl").stat().st_size < 1.1 * 20 * 10_000 * 32  # what 20 large ones take


def test_the_command_writes_the_same_locations(folder: Path, run: object) -> None:
    before = (folder / "case.pkl").read_bytes()
    (folder / "case.pkl").unlink()
    done = run("SuperVoxel_save_fg_location", "-supervoxel_folder", folder, "-np", 1)
    assert done.returncode == 0, done.stderr
    assert (folder / "case.pkl").read_bytes() == before


def test_training_draws_any_of_them(many: SupervoxelSet, folder: Path, tmp_path: Path) -> None:
    layout = {"chunks": (1, *SHAPE), "blocks": (1, *SHAPE)}
    image, labels = np.zeros((1, *SHAPE), np.float32), np.zeros((1, *SHAPE), np.int8)
    nnUNetDatasetBlosc2.save_case(image, labels, {}, str(tmp_path / "case"), **layout)
    case = PromptDataset(tmp_path, folder).open_case("case")
    rng = np.random.default_rng(0)
    keys = []
    for _ in range(300):
        drawn = case.draw_object(rng)
        expected = np.zeros(SHAPE, bool)
        expected[many.supervoxels[drawn.key - 1].slices] = many.supervoxels[drawn.key - 1].mask
        around = tuple(slice(index, index + 32) for index in drawn.centre)  # in the volume with 16 voxels on every side
        found = case.target_patch(drawn, [(index - 16, index + 16) for index in drawn.centre])
        assert found[16, 16, 16]
        np.testing.assert_array_equal(found, np.pad(expected, 16)[around])
        keys.append(drawn.key)
    assert min(keys) < 50
    assert max(keys) > MANY - 50
