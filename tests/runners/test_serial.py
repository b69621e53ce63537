"""One case after the other."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import blosc2
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel import GenerationConfig, SupervoxelSet, runners
from nnunetv2_supervoxel.errors import NotWritableError
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.runners.cases import Run, begin_run, folder_cases
from nnunetv2_supervoxel.runners.serial import SerialRunner
from nnunetv2_supervoxel.runners.stopping import Stopped, stopping_at_signals


class Stumbling:
    """Stands for a generator that fails on one case."""

    config = GenerationConfig()

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
    reports = SerialRunner(Stumbling()).run(cases, begin_run(cases), "scans")
    assert [(report.case, report.status) for report in reports] == [("a", "made"), ("b", "failed"), ("c", "made")]
    assert {report.dataset for report in reports} == {"scans"}
    assert "doesn't fit into memory" in reports[1].message
    said = capsys.readouterr()
    assert said.out.startswith("b: failed: it doesn't fit")
    assert "scans: 3/3 cases" in said.err
    assert "2 supervoxels, 1 failed" in said.err


def test_memory_is_freed_after_work_alone(tmp_path: Path) -> None:
    """Collecting garbage takes 0.2 s beside loaded models: ten minutes for 3,000 cases that are there already."""
    for name in "abc":
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.float32)), str(tmp_path / f"{name}.nii.gz"))
    cases, runner = folder_cases(tmp_path, tmp_path / "out", GenerationConfig()), SerialRunner(Stumbling())

    def collections() -> int:
        before = gc.get_stats()[2]["collections"]
        runner.run(cases, begin_run(cases))
        return gc.get_stats()[2]["collections"] - before

    gc.disable()
    try:
        assert [collections(), collections()] == [3, 1]  # two are made and one fails, which is tried again
    finally:
        gc.enable()


@pytest.mark.parametrize("moment", ["while a case is made", "while a case is written", "after a case"])
def test_a_signal_ends_a_run_between_cases_or_drops_the_case_in_hand(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.float32)), str(tmp_path / f"{name}.nii.gz"))
    cases = folder_cases(tmp_path, tmp_path / "out", GenerationConfig())
    make, write_image = Stumbling(), supervoxel_files.supervoxel_arrays.write_image

    class Generator:
        config = GenerationConfig()
        provenance = make.provenance

        def __call__(self, array: np.ndarray, spacing: tuple[float, ...], name: str, *_: object) -> SupervoxelSet:
            if name == "b" and moment == "while a case is made":
                os.kill(os.getpid(), signal.SIGTERM)
            return make(array, spacing, name.upper())

    def write_image_of_b(path: Path, *rest: object) -> None:
        if path.name.startswith("b.") and moment == "while a case is written":
            os.kill(os.getpid(), signal.SIGTERM)
        write_image(path, *rest)

    def free_memory() -> None:
        if (tmp_path / "out" / "b.json").exists() and moment == "after a case":
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(runners.cases, "free_memory", free_memory)
    monkeypatch.setattr(supervoxel_files.supervoxel_arrays, "write_image", write_image_of_b)
    reports = []
    with stopping_at_signals(), pytest.raises(Stopped, match="SIGTERM"):
        SerialRunner(Generator()).run(cases, begin_run(cases), tell=reports.append)
    finished = ["a"] if moment == "while a case is made" else ["a", "b"]
    assert [report.case for report in reports] == finished
    assert sorted(os.listdir(tmp_path / "out")) == [f"{name}{end}" for name in finished for end in (".json", ".nii.gz")]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 800 KiB, where this user may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=800k", "tmpfs", str(folder)], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".b2nd"])
def test_a_full_disk_stops_the_run_and_keeps_what_is_done(ending: str, small_disk: Path, tmp_path: Path) -> None:
    """Masks of noise take 120 kB and more, or 700 kB where they aren't compressed."""
    images = tmp_path / "images"
    images.mkdir()
    for name in "abcdefgh":
        if ending == ".b2nd":
            blosc2.asarray(np.zeros((2, 3, 4), np.float32), urlpath=str(images / f"{name}.b2nd"))
        else:
            sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.float32)), str(images / f"{name}{ending}"))
    noise = SupervoxelSet.of_labels(np.random.default_rng(0).integers(0, 2, (20, 170, 210), np.uint8))
    made = []

    class Generator:
        config = GenerationConfig()
        provenance: ClassVar[dict] = {"config": {}, "checkpoints": {}}

        def __call__(self, array: np.ndarray, spacing: tuple[float, ...], name: str, *_: object) -> SupervoxelSet:
            made.append(name)
            return noise

    cases = folder_cases(images, small_disk / "out", GenerationConfig(file_format=ending))
    reports = []
    with pytest.raises(NotWritableError, match="out: there is no space left; make room, then give the same command"):
        SerialRunner(Generator()).run(cases, Run(), tell=reports.append)
    done = [report.case for report in reports]
    assert {report.status for report in reports} == {"made"}
    assert 1 <= len(done) < 8
    assert made == [*done, "abcdefgh"[len(done)]]  # no further case was made
    assert {path.name.split(".")[0] for path in (small_disk / "out").iterdir()} == set(done)
    for name in done:
        path = small_disk / "out" / f"{name}{ending}"
        masks = blosc2.open(str(path))[:] if ending == ".b2nd" else sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        np.testing.assert_array_equal(masks.reshape(noise.shape), noise.to_array()[0])
