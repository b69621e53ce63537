"""`nnUNetv2_supervoxel_report`, on a dataset that nnU-Net preprocessed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nnunetv2_supervoxel.commands.report import main


@pytest.fixture
def folder(prompt_dataset: Path) -> Iterator[Path]:
    """A copy of the phantoms' dataset: case0 to case3 with supervoxels, case4 without files."""
    folder = prompt_dataset.with_name("Dataset996_Reported")
    shutil.copytree(prompt_dataset, folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def report(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., tuple[int, str, str]]:
    """Call the command; its exit code, and what it printed."""

    def call(*arguments: object) -> tuple[int, str, str]:
        command = ["report", "-d", "996", "-np", "1", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        code = main()
        return code, *capsys.readouterr()

    return call


def test_the_page_lies_beside_the_supervoxels(folder: Path, report: Callable) -> None:
    code, out, _ = report()
    page = folder / "nnUNetPlans_3d_fullres_supervoxels_report.html"
    assert code == 0
    assert "5 cases: 4 with supervoxels, 0 without, 1 without files, 0 damaged." in out
    assert f"Open {page} (" in out
    text = page.read_text()
    assert all(f'<tr id="case-case{number}"' in text for number in range(5))
    assert 'id="viewer-data-3"' in text  # the first three, and the fourth as the oddest of the others


def test_bad_cases_are_listed_and_stop_nobody(folder: Path, report: Callable, tmp_path: Path) -> None:
    supervoxels = folder / "nnUNetPlans_3d_fullres_supervoxels"
    (supervoxels / "case1.b2nd").write_bytes(b"nothing")
    (supervoxels / "gone.json").write_text("{}")  # its preprocessed case isn't there any more
    code, out, err = report("-o", tmp_path / "new" / "page.html", "--view")
    assert code == 1
    assert "5 cases: 3 with supervoxels, 0 without, 1 without files, 1 damaged." in out
    assert "case1 failed: " in err
    assert "gone failed: " not in err
    assert f"Note: files in {supervoxels} belong to no preprocessed case, such as those of 'gone'" in err
    text = (tmp_path / "new" / "page.html").read_text()
    assert '<tr id="case-case1" class="failed"' in text
    assert '<tr id="case-case4" class="missing"' in text
    assert "case-gone" not in text
    assert "viewer-data-0" not in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--view", "case0", "case9"], "no case 'case9' among the preprocessed ones with supervoxels in"),
        (["-o", "page.txt"], "doesn't end with .html"),
        (["-o", "{folder}/nnUNetPlans_3d_fullres/page.html"], "nothing but cases"),
        (["-o", "{folder}/nnUNetPlans_3d_fullres_supervoxels/page.html"], "nothing but cases"),
        (["-o", "{folder}/dataset.json/page.html"], "is no folder"),
        (["-o", "/proc/page.html"], "Nothing can be written to /proc"),
        (["-c", "3d_half"], "no configuration '3d_half'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_end_in_one_sentence(folder: Path, report: Callable, arguments: list, words: str) -> None:
    before = sorted(os.walk(folder))
    code, out, err = report(*(argument.format(folder=folder) for argument in arguments))
    assert code == 1
    assert words in err
    assert err.startswith("Error: ")
    assert out == ""
    assert sorted(os.walk(folder)) == before


def test_a_dataset_without_supervoxels(folder: Path, report: Callable) -> None:
    shutil.rmtree(folder / "nnUNetPlans_3d_fullres_supervoxels")
    code, _, err = report()
    assert code == 1
    assert "make them with 'nnUNetv2_supervoxel_generate -d 996'" in err
