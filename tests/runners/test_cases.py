"""A case can be sent to another process, and is done there as here."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel import GenerationConfig, SupervoxelSet, UserError, generate_folder
from nnunetv2_supervoxel.errors import NotWritableError
from nnunetv2_supervoxel.files.owners import this_process
from nnunetv2_supervoxel.files.preprocessed import locate_dataset
from nnunetv2_supervoxel.runners.cases import Case, Run, begin_run, dataset_cases, do_case, folder_cases, share_of

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


def test_a_share_is_of_those_that_are_wanted(scans: Path, tmp_path: Path) -> None:
    for name in ("c", "d", "e"):
        shutil.copy(scans / "a.nii.gz", scans / f"{name}.nii.gz")
    cases = folder_cases(scans, tmp_path / "out", GenerationConfig())

    def names(*arguments: object) -> list[str]:
        return [case.name for case in share_of(cases, *arguments)]

    assert names() == ["a", "b", "c", "d", "e"]
    assert names(["e", "b", "e"]) == ["b", "e"]
    assert [names(["e", "b", "a"], 2, part) for part in (0, 1)] == [["a", "e"], ["b"]]
    with pytest.raises(UserError, match=r"no case 'b\.nii\.gz' .* as 'a', without an ending"):
        names(["a", "b.nii.gz"])


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
        do_case(case, bright_region, MADE_BY, Run()),
        do_case(case, bright_region, MADE_BY | {"config": MADE_BY["config"] | {"seed": 7}}, Run()),
        do_case(case, bright_region, MADE_BY, Run(overwrite=True, began=time.time() + 1)),
    ]
    assert [report.status for report in reports] == ["made", "kept", "made"]
    assert {(report.supervoxels, report.voxels) for report in reports} == {(1, 2)}
    assert [report.differing for report in reports] == [(), ("seed",), ()]
    assert sorted(os.listdir(tmp_path / "out")) == ["a.json", "a.nii.gz"]


def test_another_image_of_the_same_name_is_not_taken_for_done(scans: Path, tmp_path: Path) -> None:
    """As if `-i ct` and `-i mr` were given without -o. A folder that was moved or copied is the same images."""

    def statuses(folder: Path, **how: object) -> list[tuple[str, str]]:
        cases = folder_cases(folder, tmp_path / "out", GenerationConfig())
        reports = [do_case(case, bright_region, MADE_BY, begin_run(cases, **how)) for case in cases]
        assert not (tmp_path / "out" / ".failed").exists()
        return [(report.status, report.message) for report in reports]

    def source() -> str:
        return json.loads((tmp_path / "out" / "a.json").read_text())["source"]

    others = tmp_path / "others"
    others.mkdir()
    array = np.zeros((3, 4, 5), np.float32)
    array[0, 1, 2:] = 1
    for name in "ab":
        sitk.WriteImage(sitk.GetImageFromArray(array), str(others / f"{name}.nii.gz"))
    assert statuses(scans) == [("made", "")] * 2
    assert source() == str(scans / "a.nii.gz")
    (a, said), b = statuses(others)
    assert (a, b[0]) == ("failed", "failed")
    assert said == (
        f"its supervoxels in {tmp_path}/out were made from {scans}/a.nii.gz; choose another folder with -o, or replace "
        "them with --overwrite."
    )
    shutil.copytree(scans, tmp_path / "copied")
    assert statuses(tmp_path / "copied") == [("kept", "")] * 2
    scans.rename(tmp_path / "moved")
    assert statuses(tmp_path / "moved") == [("kept", "")] * 2
    assert statuses(others) == [("kept", "")] * 2  # nobody can tell any more
    assert statuses(others, overwrite=True) == [("made", "")] * 2
    assert source() == str(others / "a.nii.gz")
    assert statuses(tmp_path / "moved")[0][0] == "failed"
    without = json.loads((tmp_path / "out" / "a.json").read_text())
    del without["source"]
    (tmp_path / "out" / "a.json").write_text(json.dumps(without))
    assert statuses(tmp_path / "moved")[0] == ("kept", "")  # as from an earlier version


def test_the_source_is_absolute(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    case, _ = folder_cases(Path("scans"), Path("out"), GenerationConfig())
    assert case.origin() == {"case": "a", "source": str(tmp_path / "scans" / "a.nii.gz")}


def test_a_failure_is_reported(scans: Path, tmp_path: Path) -> None:
    def stumbles(*_: object) -> SupervoxelSet:
        raise ValueError("one\ntwo")

    case, other = folder_cases(scans, tmp_path / "out", GenerationConfig())
    report = do_case(case, stumbles, MADE_BY, Run())
    assert (report.status, report.message) == ("failed", "unexpected ValueError: one (please report this)")
    shutil.copytree(scans, tmp_path / "out", dirs_exist_ok=True)
    report = do_case(other, bright_region, MADE_BY, Run())
    assert report.status == "failed"
    assert "wasn't made by generation" in report.message


def test_a_target_that_cant_be_written_is_told_before_any_model_is_loaded(scans: Path, tmp_path: Path) -> None:
    config = GenerationConfig(sam1_checkpoint=str(tmp_path / "missing.pth"))
    with pytest.raises(NotWritableError, match="Nothing can be written to /proc/supervoxels: "):
        generate_folder(scans, Path("/proc/supervoxels"), config)
    with pytest.raises(UserError, match=r"missing\.pth"):
        generate_folder(str(scans), str(tmp_path / "out"), config)
    assert not (tmp_path / "out").exists()


def test_where_all_is_done_nothing_needs_to_be_written(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = folder_cases(scans, tmp_path / "out", GenerationConfig())
    for case in cases:
        do_case(case, bright_region, MADE_BY, Run())
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: pytest.fail("tried to write"))
    begin_run(cases)
    monkeypatch.undo()
    (tmp_path / "out" / "a.nii.gz").unlink()
    leftover = tmp_path / "out" / f".writing-{this_process().rpartition('.')[0]}.5-abc"  # of an earlier process
    leftover.mkdir()
    begin_run(cases)
    assert not leftover.exists()


def test_names_that_are_too_long_are_told_before_the_case_is_made(scans: Path, tmp_path: Path) -> None:
    longest = "x" * 251
    shutil.copy(scans / "a.nii.gz", scans / "x.nii.gz")
    image = sitk.ReadImage(str(scans / "x.nii.gz"))
    sitk.WriteImage(image, str(scans / "x.nii"))
    (scans / "x.nii").rename(scans / f"{longest}.nii")
    (case,) = folder_cases(scans, tmp_path / "out", GenerationConfig(file_format=".nii"))
    report = do_case(case, lambda *_: pytest.fail("was made"), MADE_BY, Run(overwrite=True, began=time.time() + 1))
    assert report.message == (
        f"{tmp_path}/out/{longest}.json would be too long a name for the file system; shorten it."
    )
