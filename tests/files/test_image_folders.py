from __future__ import annotations

from pathlib import Path

import pytest

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files.image_folders import find_arrays, find_images
from nnunetv2_supervoxel.files.volumes import read_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.nii.gz", "A.NII", "c_seg.nii.gz", "._b.nii.gz", ".hidden.nii", "notes.txt", "case.b2nd"):
        (tmp_path / name).touch()
    (tmp_path / "folder.nii.gz").mkdir()
    return tmp_path


def test_cases_by_name_with_the_ending_that_matched(folder: Path) -> None:
    found = find_images(folder, (".nii.gz", ".nii"), excluded=("_seg",))
    assert found == {"A": (folder / "A.NII", ".nii"), "b": (folder / "b.nii.gz", ".nii.gz")}
    assert find_arrays(folder) == ["case"]


def test_a_link_to_nothing_is_a_case_that_fails_later(folder: Path) -> None:
    (folder / "lost.nii").symlink_to(folder / "gone.nii")
    assert find_images(folder, (".nii",)) == {"A": (folder / "A.NII", ".nii"), "lost": (folder / "lost.nii", ".nii")}
    with pytest.raises(UserError, match=r"lost\.nii is a link to a file that isn't there"):
        read_image(folder / "lost.nii", (0,))


def test_two_files_of_one_case(folder: Path) -> None:
    (folder / "b.nii").touch()
    with pytest.raises(UserError, match="same name"):
        find_images(folder, (".nii.gz", ".nii"))


def test_nothing_found(folder: Path) -> None:
    with pytest.raises(UserError, match=r"ends with \.nrrd and contains none of _seg; buy a scanner\.$"):
        find_images(folder, (".nrrd",), ("_seg",), "buy a scanner")
    with pytest.raises(UserError, match="no folder"):
        find_images(folder / "missing", (".nii",))
