"""Where a dataset's supervoxels lie, and which cases have some."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.files.preprocessed import open_preprocessed
from nnunetv2_supervoxel.files.supervoxel_folders import (
    find_supervoxels,
    list_cases,
    list_preprocessed,
    list_tried,
    supervoxel_folder,
)


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Dataset123_Two, with cases a and b."""
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path))
    folder = tmp_path / "Dataset123_Two"
    touch(folder / "cases", *(f"{case}{ending}" for case in "ab" for ending in (".b2nd", "_seg.b2nd", ".pkl")))
    configurations = {"3d_fullres": {"data_identifier": "cases"}}
    (folder / "nnUNetPlans.json").write_text(json.dumps({"configurations": configurations}))
    return folder


def test_they_lie_beside_the_preprocessed_cases() -> None:
    assert supervoxel_folder("Dataset004_Hippo", "plans_3d") == Path("Dataset004_Hippo/plans_3d_supervoxels")


def test_cases_with_supervoxels_and_cases_that_were_tried(tmp_path: Path) -> None:
    touch(tmp_path, "b.b2nd", "b.json", "b.pkl", "a.1.b2nd", "empty.json", ".c.b2nd", "notes.txt")
    assert list_cases(tmp_path) == ["a.1", "b"]
    assert list_tried(tmp_path) == ["a.1", "b", "empty"]
    assert list_tried(tmp_path / "missing") == []


@pytest.mark.parametrize(
    ("names", "cases"),
    [
        (["a.b2nd", "a_seg.b2nd", "a.pkl", "b.b2nd", "c.pkl", "._d.b2nd"], ["a", "b"]),
        (["a.npz", "a.npy", "a_seg.npy", "a.pkl", "b.npz", "c.pkl"], ["a", "b"]),
    ],
    ids=["Blosc2", "NumPy"],
)
def test_preprocessed_cases_are_those_that_nnunet_lists(tmp_path: Path, names: Sequence[str], cases: list) -> None:
    touch(tmp_path, *names)
    assert list_preprocessed(tmp_path) == cases
    assert open_preprocessed(tmp_path).identifiers == cases


def test_files_without_a_preprocessed_case_are_no_case(dataset: Path) -> None:
    touch(dataset / "cases_supervoxels", "a.json", "stray.b2nd", "gone.json", "gone.b2nd", "notes.txt")
    found = find_supervoxels(123, "nnUNetPlans", "3d_fullres")
    assert (found.cases, found.untried, found.strays) == (("a",), ("b",), ("gone", "stray"))
    (dataset / "cases_supervoxels" / "a.json").unlink()
    with pytest.raises(UserError, match="Dataset123_Two has no supervoxels of preprocessed cases in"):
        find_supervoxels(123, "nnUNetPlans", "3d_fullres")
