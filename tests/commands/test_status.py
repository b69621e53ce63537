"""`nnUNetv2_supervoxel_status`, on the MNI152 brain."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest

from nnunetv2_supervoxel.commands.status import main
from nnunetv2_supervoxel.files.claims import claimed
from nnunetv2_supervoxel.files.failures import forget_failure, note_failure


@pytest.fixture
def status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nnUNetv2_supervoxel_status", *arguments])
        code = main()
        return code, *capsys.readouterr()

    return call


def test_all_done(generated: Path, status) -> None:
    code, out, _ = status("-d", "990")
    assert code == 0
    assert out.splitlines()[0] == str(generated)
    assert re.search(r"^3 done, 0 running, 0 failed, 0 left; \d+ supervoxels so far, \d+\.\d per case$", out, re.M)
    assert len(out.splitlines()) == 2
    with claimed(generated, "brain_01", run_began=time.time() + 1):
        _, out, _ = status("-d", "990")
    assert "2 done, 1 running, 0 failed, 0 left; " in out
    assert "  2 of those done are from before; a run makes supervoxels anew (--overwrite)\n" in out


def test_some_to_do(generated: Path, status, tmp_path: Path) -> None:
    """One failed, one runs."""
    hidden = {case: generated / f"{case}.b2nd" for case in ("brain_00", "brain_02")}
    for case, path in hidden.items():
        path.rename(tmp_path / case)
    try:
        note_failure(generated, "brain_00", "it is damaged.")
        with claimed(generated, "brain_02"):
            _, out, _ = status("-d", "990")
        assert "1 done, 1 running, 1 failed, 0 left; " in out
        assert "  failed: brain_00: it is damaged.\n" in out
        assert re.search(r"  running: brain_02, by process \d+ on \S+, for 0:00:\d\d\n", out)
        _, out, _ = status("-d", "990")
        assert "1 done, 0 running, 1 failed, 1 left; " in out
        assert out.endswith("nnUNetv2_supervoxel_generate does what is left, and tries again what failed.\n")
    finally:
        forget_failure(generated, "brain_00")
        for case, path in hidden.items():
            (tmp_path / case).rename(path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-d", "123"), "There is no dataset 123"),
        (("-d", "990", "-p", "other"), "isn't preprocessed with plans 'other'"),
        (("-d", "990", "-c", "2d_other"), "have no configuration '2d_other'"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], words: str, preprocessed: Path, status) -> None:
    code, _, err = status(*arguments)
    assert code == 1
    assert words in err
