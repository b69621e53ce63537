"""One case after the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel import GenerationConfig, SupervoxelSet
from nnunetv2_supervoxel.runners.cases import folder_cases
from nnunetv2_supervoxel.runners.serial import run_serially


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
