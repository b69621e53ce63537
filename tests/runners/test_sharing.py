"""Several runs on one folder: each case is done by one of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel import GenerationConfig, SupervoxelSet
from nnunetv2_supervoxel.files.claims import CLAIMS, claimed
from nnunetv2_supervoxel.files.failures import FAILURES, note_failure
from nnunetv2_supervoxel.runners.cases import Case, begin_run, do_case, folder_cases
from nnunetv2_supervoxel.runners.serial import SerialRunner


class Generator:
    """Stands for a generator: all of the image, but nothing of what can't be made."""

    config = GenerationConfig()
    provenance: ClassVar[dict] = {"config": {}, "checkpoints": {}}

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, array: np.ndarray, spacing: tuple[float, ...], name: str, *_: object) -> SupervoxelSet:
        self.made.append(name)
        if name == "impossible":
            raise ValueError("it can't be made")
        return SupervoxelSet.of_labels(np.ones(array.shape[1:], np.uint8))


def cases_of(folder: Path, *names: str) -> list[Case]:
    images = folder / "images"
    images.mkdir()
    for number, name in enumerate(names):
        image = np.random.default_rng(number).normal(size=(6, 9, 13)).astype(np.float32)
        sitk.WriteImage(sitk.GetImageFromArray(image), str(images / f"{name}.nii.gz"))
    return folder_cases(images, folder / "out", GenerationConfig())


def test_a_run_waits_for_a_case_that_another_run_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And does it itself when the other run gives it up."""
    monkeypatch.setattr("nnunetv2_supervoxel.runners.serial.SECONDS_BETWEEN_LOOKS", 0.05)
    cases = cases_of(tmp_path, "a", "b", "c")
    generator, others_done = Generator(), threading.Event()

    def other_run() -> None:
        with claimed(tmp_path / "out", "a"):
            claiming.set()
            others_done.wait(30)
            time.sleep(0.3)

    claiming = threading.Event()
    other = threading.Thread(target=other_run)
    other.start()
    claiming.wait(30)
    reports = SerialRunner(generator).run(
        cases, begin_run(cases), tell=lambda report: report.case == "c" and others_done.set()
    )
    other.join()
    assert generator.made == ["b", "c", "a"]
    assert [(report.case, report.status) for report in reports] == [("a", "made"), ("b", "made"), ("c", "made")]


def test_what_another_run_has_done_meanwhile_is_not_done_again(tmp_path: Path) -> None:
    """Not even with --overwrite, which means what is older than the run."""
    cases = cases_of(tmp_path, "a", "b", "impossible")
    SerialRunner(Generator()).run(cases, begin_run(cases))
    time.sleep(0.05)  # longer than the file system's clock ticks
    run = begin_run(cases, overwrite=True)
    time.sleep(0.05)
    first, second = Generator(), Generator()
    made = SerialRunner(first).run(cases[:2], run)
    note_failure(tmp_path / "out", "impossible", "the other run says why")
    kept = SerialRunner(second).run(cases, run)
    assert first.made == ["a", "b"]
    assert second.made == []
    assert [report.status for report in made] == ["made", "made"]
    assert [report.status for report in kept] == ["kept", "kept", "failed"]
    assert kept[2].message == "the other run says why"
    again = Generator()
    time.sleep(0.05)
    SerialRunner(again).run(cases, begin_run(cases, overwrite=True))
    assert again.made == ["a", "b", "impossible"]


def test_a_case_that_killed_three_runs_is_given_up_until_the_next_run(tmp_path: Path) -> None:
    """The system kills for lack of memory; machine after machine takes over."""
    cases = cases_of(tmp_path, "a", "deadly")
    deadly = cases[1]

    class Deadly(Generator):
        def __call__(self, *_: object) -> SupervoxelSet:
            os.kill(os.getpid(), signal.SIGKILL)

    for _ in range(3):
        run, volume = begin_run(cases), cases[0].read()
        child = os.fork()
        if not child:
            do_case(deadly, Deadly(), Deadly.provenance, run, lambda _, volume=volume: volume)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
    generator = Generator()
    reports = SerialRunner(generator).run(cases, begin_run(cases))
    assert generator.made == ["a"]
    assert [report.status for report in reports] == ["made", "failed"]
    assert reports[1].message.startswith("3 runs died one after the other while they did it; perhaps the system killed")
    assert (tmp_path / "out" / FAILURES / "deadly").read_text() == reports[1].message + "\n"
    assert not (tmp_path / "out" / CLAIMS).exists()
    SerialRunner(generator).run(cases, begin_run(cases))
    assert generator.made == ["a", "deadly"]


def test_claims_that_runs_left_of_done_cases_go_unless_they_are_made_anew(tmp_path: Path) -> None:
    cases = cases_of(tmp_path, "a", "b")
    SerialRunner(Generator()).run(cases[:1], begin_run(cases))
    claims = tmp_path / "out" / CLAIMS
    claims.mkdir()
    for name in "ab":
        (claims / name).write_text("{}")
        os.utime(claims / name, (0, 0))
    begin_run(cases, overwrite=True)
    assert sorted(os.listdir(claims)) == ["a", "b"]
    begin_run(cases)
    assert os.listdir(claims) == ["b"]


def test_failures_are_noted_until_the_case_is_done(tmp_path: Path) -> None:
    cases = cases_of(tmp_path, "a", "impossible")
    SerialRunner(Generator()).run(cases, begin_run(cases))
    note = tmp_path / "out" / FAILURES / "impossible"
    assert note.read_text() == "unexpected ValueError: it can't be made (please report this)\n"

    class Better(Generator):
        def __call__(self, *arguments: object) -> SupervoxelSet:
            return super().__call__(*arguments[:2], "possible")

    SerialRunner(Better()).run(cases, begin_run(cases))
    assert sorted(os.listdir(tmp_path / "out")) == ["a.json", "a.nii.gz", "impossible.json", "impossible.nii.gz"]


def test_that_a_case_could_not_be_made_anew_is_forgotten_when_nobody_wants_it(tmp_path: Path) -> None:
    cases = cases_of(tmp_path, "a", "b")
    SerialRunner(Generator()).run(cases[:1], begin_run(cases))
    for name in "ab":
        note_failure(tmp_path / "out", name, "why")
    begin_run(cases, overwrite=True)
    assert sorted(os.listdir(tmp_path / "out" / FAILURES)) == ["a", "b"]
    begin_run(cases)
    assert os.listdir(tmp_path / "out" / FAILURES) == ["b"]


def test_two_commands_share_a_folder(tmp_path: Path) -> None:
    """Both end when all is done, and say so; every case was made by one of them."""
    names = [f"case_{number}" for number in range(8)]
    cases_of(tmp_path, *names)
    (tmp_path / "slic.yaml").write_text("method: slic\nmasks_per_image: 5\n")
    command = [Path(sys.executable).parent / "SuperVoxel_generate", "-i", "images", "-o", "out", "-c", "slic.yaml"]
    runs = [
        subprocess.Popen(
            [*command, "--json-log", f"{number}.jsonl"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for run in runs:
        out, err = run.communicate(timeout=300)
        assert run.returncode == 0, err
        assert out.startswith("8 cases: ")
    logs = [
        [json.loads(line) for line in (tmp_path / f"{number}.jsonl").read_text().splitlines()] for number in range(2)
    ]
    assert [sorted(line["case"] for line in log) for log in logs] == [names, names]
    assert sorted(line["case"] for log in logs for line in log if line["status"] == "made") == names
    assert sorted(os.listdir(tmp_path / "out")) == sorted(
        f"{name}{end}" for name in names for end in (".json", ".nii.gz")
    )
