"""Where a dataset's supervoxels lie, and which cases have some."""

from __future__ import annotations

from pathlib import Path

from nnunetv2_supervoxel.files.supervoxel_folders import list_cases, list_tried, supervoxel_folder


def test_they_lie_beside_the_preprocessed_cases() -> None:
    assert supervoxel_folder("Dataset004_Hippo", "plans_3d") == Path("Dataset004_Hippo/plans_3d_supervoxels")


def test_cases_with_supervoxels_and_cases_that_were_tried(tmp_path: Path) -> None:
    for name in ("b.b2nd", "b.json", "b.pkl", "a.1.b2nd", "empty.json", ".c.b2nd", "notes.txt"):
        (tmp_path / name).touch()
    assert list_cases(tmp_path) == ["a.1", "b"]
    assert list_tried(tmp_path) == ["a.1", "b", "empty"]
    assert list_tried(tmp_path / "missing") == []
