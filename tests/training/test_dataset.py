"""Which cases can be trained on, and what is said of those that can't."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunetv2_supervoxel import SupervoxelSet, UserError
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.training.dataset import PromptDataset

SHAPE = (7, 12, 17)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two cases with one supervoxel and one label."""
    images, supervoxels = tmp_path / "plans_3d", tmp_path / "plans_3d_supervoxels"
    images.mkdir()
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:5, 3:9, 4:15] = 1
    properties = {"class_locations": {1: np.insert(np.argwhere(mask), 0, 0, axis=1)}}
    layout = {"chunks": (1, *SHAPE), "blocks": (1, *SHAPE)}
    for case in ("a", "b"):
        image = mask[None].astype(np.float32)
        nnUNetDatasetBlosc2.save_case(image, mask[None].astype(np.int8), properties, str(images / case), **layout)
        supervoxel_files.write_case(supervoxels, case, SupervoxelSet.of_labels(mask), {}, SHAPE)
    return images, supervoxels


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([{"class_locations": {}}], "a.pkl holds a list, not what nnU-Net's preprocessing writes; preprocess the"),
        (None, "a.pkl holds a NoneType"),
        ({"class_locations": [1, 2]}, "a.pkl holds no class locations as nnU-Net's preprocessing writes them"),
        ({"class_locations": {1: 3}}, "a.pkl holds no class locations"),
    ],
)
def test_a_pickle_of_something_else_is_told(content: object, words: str, folders: tuple[Path, Path]) -> None:
    dataset = PromptDataset(*folders)
    (folders[0] / "a.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(UserError) as told:
        dataset.open_case("a")
    assert words in str(told.value)
    for path in folders[1].glob("a.*"):
        path.unlink()
    with pytest.warns(UserWarning, match=r"1 of 2 cases have no supervoxels or labels .*\(a\)"):
        assert PromptDataset(*folders, labels="also").identifiers == ["b"]


@pytest.mark.parametrize("labels", ["never", "instead"])
def test_supervoxels_that_are_all_empty_are_told_before_any_is_drawn(labels: str, folders: tuple[Path, Path]) -> None:
    """Not by a worker, whose reason would stand above "background workers are no longer alive"."""
    nothing = pickle.dumps({"class_locations": {1: np.zeros((0, 4), np.int64)}})
    (folders[1] / "a.pkl").write_bytes(nothing)
    assert PromptDataset(*folders, labels=labels).identifiers == ["a", "b"]
    (folders[1] / "b.pkl").write_bytes(nothing)
    with pytest.raises(UserError, match=r"All supervoxels in .* are empty; do this, with --overwrite\.$"):
        PromptDataset(*folders, remedy="do this", labels=labels)
    assert PromptDataset(*folders, labels="also").identifiers == ["a", "b"]  # labels can be drawn


def test_companions_of_macos_are_no_cases(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        for path in list(folder.iterdir()):
            (folder / f"._{path.name}").write_bytes(b"macOS")
    assert PromptDataset(*folders).identifiers == ["a", "b"]
