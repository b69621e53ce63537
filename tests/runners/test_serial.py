"""One case after the other."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel import GenerationConfig, SupervoxelSet
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.runners.cases import folder_cases
from nnunetv2_supervoxel.runners.serial import run_serially
from nnunetv2_supervoxel.runners.stopping import Stopped, stopping_at_signals


class Stumbling:
    """Stands for a generator that fails on one case."""

    def __init__(self) -> None:
        self.provenance = {"config": {}, "checkpoints": {}}

    def __call__(self, array: np.ndarray, spacing: tuple[float, ...], name: str, *_: object) -> SupervoxelSet:
        if name == "b":
            raise MemoryError
        return SupervoxelSet.of_labels(np.ones(array.shape[1:], np.uint8))


def test_every_case_has_a_report_in_the_cases_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "abc":
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.float32)), str(tmp_path / f"{name}.nii.gz"))
    cases = folder_cases(tmp_path, tmp_path / "out", GenerationConfig())
    reports = run_serially(cases, Stumbling(), title="scans")
    assert [(report.case, report.status) for report in reports] == [("a", "made"), ("b", "failed"), ("c", "made")]
    assert "doesn't fit into memory" in reports[1].message
    said = capsys.readouterr()
    assert said.out.startswith("b: failed: it doesn't fit")
    assert "scans: 100%" in said.err


@pytest.mark.parametrize("moment", ["while a case is made", "while a case is written"])
def test_a_signal_ends_a_run_between_cases_or_drops_the_case_in_hand(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.float32)), str(tmp_path / f"{name}.nii.gz"))
    cases = folder_cases(tmp_path, tmp_path / "out", GenerationConfig())
    make, write_image = Stumbling(), supervoxel_files.supervoxel_arrays.write_image

    class Generator:
        provenance = make.provenance

        def __call__(self, array: np.ndarray, spacing: tuple[float, ...], name: str, *_: object) -> SupervoxelSet:
            if name == "b" and moment == "while a case is made":
                os.kill(os.getpid(), signal.SIGTERM)
            return make(array, spacing, name.upper())

    def write_image_of_b(path: Path, *rest: object) -> None:
        if path.name.startswith("b.") and moment == "while a case is written":
            os.kill(os.getpid(), signal.SIGTERM)
        write_image(path, *rest)

    monkeypatch.setattr(supervoxel_files.supervoxel_arrays, "write_image", write_image_of_b)
    reports = []
    with stopping_at_signals(), pytest.raises(Stopped, match="SIGTERM"):
        run_serially(cases, Generator(), tell=reports.append)
    finished = ["a", "b"] if moment == "while a case is written" else ["a"]
    assert [report.case for report in reports] == finished
    assert sorted(os.listdir(tmp_path / "out")) == [f"{name}{end}" for name in finished for end in (".json", ".nii.gz")]
