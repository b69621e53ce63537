"""A case can be sent to another process, and is done there as here."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel import GenerationConfig, SupervoxelSet
from nnunetv2_supervoxel.files.preprocessed import locate_dataset
from nnunetv2_supervoxel.runners.cases import Case, dataset_cases, do_case, folder_cases

MADE_BY = {"config": GenerationConfig().model_dump(mode="json"), "checkpoints": {}}


def bright_region(array: np.ndarray, *_: object) -> SupervoxelSet:
    """Stands for a generator."""
    return SupervoxelSet.of_labels((array[0] > 0.5).astype(np.uint8))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("b", "a"):
        array = np.zeros((3, 4, 5), np.float32)
        array[1, 2, 3:] = 1
        sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / f"{name}.nii.gz"))
    return folder


def sent(case: Case) -> Case:
    return pickle.loads(pickle.dumps(case))


def test_cases_of_a_folder_survive_a_journey(scans: Path, tmp_path: Path) -> None:
    cases = folder_cases(scans, tmp_path / "out", GenerationConfig())
    assert [case.name for case in cases] == ["a", "b"]
    assert [sent(case) for case in cases] == cases
    np.testing.assert_array_equal(sent(cases[0]).read().array, cases[0].read().array)


def test_cases_of_a_dataset_survive_a_journey(preprocessed: Path) -> None:
    cases = dataset_cases(locate_dataset(990, "nnUNetPlans", "3d_fullres"), GenerationConfig())
    assert [case.name for case in cases] == ["brain_00", "brain_01", "brain_02"]
    assert [sent(case) for case in cases] == cases
    assert len(pickle.dumps(cases[0])) < 2000  # nothing of the other cases
    volume = sent(cases[1]).read()
    np.testing.assert_array_equal(volume.array, cases[1].read().array)
    assert volume.spacing == (2.0, 2.0, 2.0)


def test_a_case_is_made_kept_and_made_anew(scans: Path, tmp_path: Path) -> None:
    case, _ = folder_cases(scans, tmp_path / "out", GenerationConfig())
    reports = [
        do_case(case, bright_region, MADE_BY),
        do_case(case, bright_region, MADE_BY | {"config": MADE_BY["config"] | {"seed": 7}}),
        do_case(case, bright_region, MADE_BY, overwrite=True),
    ]
    assert [report.status for report in reports] == ["made", "kept", "made"]
    assert {(report.supervoxels, report.voxels) for report in reports} == {(1, 2)}
    assert [report.differing for report in reports] == [(), ("seed",), ()]
    assert sorted(os.listdir(tmp_path / "out")) == ["a.json", "a.nii.gz"]


def test_a_failure_is_reported(scans: Path, tmp_path: Path) -> None:
    def stumbles(*_: object) -> SupervoxelSet:
        raise ValueError("one\ntwo")

    case, other = folder_cases(scans, tmp_path / "out", GenerationConfig())
    report = do_case(case, stumbles, MADE_BY)
    assert (report.status, report.message) == ("failed", "unexpected ValueError: one (please report this)")
    shutil.copytree(scans, tmp_path / "out")
    report = do_case(other, bright_region, MADE_BY)
    assert report.status == "failed"
    assert "wasn't made by generation" in report.message
