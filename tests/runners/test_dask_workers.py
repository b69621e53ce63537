"""The workers of a Dask cluster do the cases: the same files, whoever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunetv2_supervoxel import GenerationConfig, UserError
from nnunetv2_supervoxel.files.claims import CLAIMS, living_claims
from nnunetv2_supervoxel.runners import dask_workers
from nnunetv2_supervoxel.runners.cases import ImageCase, PreprocessedCase, begin_run
from nnunetv2_supervoxel.runners.choice import chosen_runner

NAMES = [f"case_{number}" for number in range(6)]
SLIC = GenerationConfig(method="slic", masks_per_image=12)
BIN = Path(sys.executable).parent


class DeadlyCase(ImageCase):
    """Kills whoever reads it, as the system does for lack of memory."""

    def read(self) -> object:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `images`, the settings, and `serial`: what one process makes of them."""
    folder = tmp_path_factory.mktemp("scans")
    (folder / "images").mkdir()
    for number, name in enumerate(NAMES):
        image = np.random.default_rng(number).normal(size=(40, 70, 90)).astype(np.float32)
        sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / "images" / f"{name}.nii.gz"))
    (folder / "slic.yaml").write_text("method: slic\nmasks_per_image: 12\n")
    done = generate(folder, "serial")
    assert done.returncode == 0, done.stderr
    return folder


def command(output: str, *arguments: object) -> list[str]:
    return [str(BIN / "SuperVoxel_generate"), *map(str, ("-i", "images", "-o", output, "-c", "slic.yaml", *arguments))]


def generate(folder: Path, output: str, *arguments: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # with another number PyTorch rounds differently
    return subprocess.run(
        command(output, *arguments),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def wait_for(something: Callable[[], object], seconds: float = 300) -> object:
    until = time.monotonic() + seconds
    while not (found := something()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


def being_made(folder: Path) -> dict[str, int]:
    """The processes that work on a case now, by case."""
    claims = {case: claim.owner for case, claim in living_claims(folder).items() if claim.owner}
    return {case: int(owner.split(".")[-2]) for case, owner in claims.items()}


def test_two_workers_make_the_same_bytes_as_one_process(scans: Path) -> None:
    done = generate(scans, "two", "-device", "cpu", "-num_gpus", 2, "--report", "two.csv", "--json-log", "two.jsonl")
    assert done.returncode == 0, done.stderr
    assert "Dask: 2 workers at tcp://127.0.0.1:" in done.stdout
    assert ", dashboard http://127.0.0.1:" in done.stdout
    assert "6 cases: 6 made" in done.stdout
    assert "Traceback" not in done.stderr
    assert contents(scans / "two") == contents(scans / "serial")
    assert sorted(os.listdir(scans / "two")) == sorted(contents(scans / "serial"))  # nothing hidden stays
    assert (scans / "two.csv").read_text().count(",made,") == 6
    assert sorted(json.loads(line)["case"] for line in (scans / "two.jsonl").read_text().splitlines()) == NAMES


@pytest.fixture
def cluster(scans: Path, tmp_path: Path) -> Iterator[str]:
    """A scheduler and two workers, as people start them, in a folder of their own; the scheduler's file."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    file = scans / "scheduler.json"
    scheduler = [
        str(BIN / "dask"),
        "scheduler",
        "--scheduler-file",
        str(file),
        "--port",
        "0",
        "--dashboard-address",
        ":0",
    ]
    worker = [str(BIN / "dask"), "worker", "--scheduler-file", str(file), "--nthreads", "1", "--memory-limit", "0"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment, "cwd": tmp_path}
    processes = [subprocess.Popen(scheduler, **quiet)]
    wait_for(file.is_file)
    processes += [subprocess.Popen([*worker, "--name", f"w-{number}"], **quiet) for number in range(2)]
    yield str(file)
    for process in reversed(processes):
        process.terminate()
    for process in processes:
        process.wait(60)
    file.unlink(missing_ok=True)


def test_a_worker_that_is_killed_has_its_case_done_by_another(scans: Path, cluster: str) -> None:
    run = subprocess.Popen(
        command("killed", "--dask", cluster), cwd=scans, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    case, process = next(iter(wait_for(lambda: being_made(scans / "killed")).items()))
    os.kill(process, signal.SIGKILL)
    assert not (scans / "killed" / f"{case}.nii.gz").exists()
    out, err = run.communicate(timeout=600)
    assert run.returncode == 0, err
    assert "6 cases: 6 made" in out
    assert contents(scans / "killed") == contents(scans / "serial")
    assert not (scans / "killed" / CLAIMS).exists()


def test_sigterm_ends_the_workers_too(scans: Path) -> None:
    run = subprocess.Popen(
        command("stopped", "-device", "cpu", "-num_gpus", 2),
        cwd=scans,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    processes = wait_for(lambda: being_made(scans / "stopped")).values()
    wait_for(lambda: list((scans / "stopped").glob("*.nii.gz")))
    run.send_signal(signal.SIGTERM)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 143
    assert "Traceback" not in err
    assert " cases: " in out
    assert not [path for path in (scans / "stopped").iterdir() if path.name.startswith(".")]
    for process in processes:
        assert not Path(f"/proc/{process}").exists()
    done = generate(scans, "stopped")
    assert done.returncode == 0
    assert contents(scans / "stopped") == contents(scans / "serial")


def test_a_case_that_kills_its_workers_is_reported_and_stops_nobody(scans: Path, tmp_path: Path) -> None:
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    image = scans / "images" / "case_0.nii.gz"
    made = {"channels": (0,), "target": tmp_path / "out", "ending": ".nii.gz", "path": image}
    cases = [DeadlyCase(name="deadly", **made), ImageCase(name="good", **made)]
    with chosen_runner(SLIC, "cpu", num_gpus=2) as runner:
        reports = runner.run(cases, begin_run(cases))
    assert [report.case for report in reports] == ["deadly", "good"]
    assert reports[0].status == "failed"
    assert reports[1].status in ("made", "kept")  # kept: done, but whoever did it died before it told
    assert "3 workers died one after the other while they did it" in reports[0].message
    assert "Do this case on a larger machine" in (tmp_path / "out" / ".failed" / "deadly").read_text()
    assert not (tmp_path / "out" / CLAIMS).exists()


def test_a_mistake_that_workers_find_ends_the_run_with_one_sentence(scans: Path) -> None:
    (scans / "missing.yaml").write_text("sam1_checkpoint: missing.pth\nsam2_checkpoint: bundled\n")
    done = generate(scans, "none", "-c", "missing.yaml", "-device", "cpu", "-num_gpus", 2)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "missing.pth" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (scans / "none").exists()


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("nowhere.json", "there is no scheduler file nowhere.json"),
        ("garbage.json", "no Dask scheduler answers at garbage.json"),
        ("tcp://127.0.0.1:9", "no Dask scheduler answers at tcp://127.0.0.1:9"),
        ("127.0.0.1:9", "no Dask scheduler answers at 127.0.0.1:9"),
        ("nonsense://x:1", "no Dask scheduler answers at nonsense://x:1"),
    ],
)
def test_a_cluster_that_is_not_there(where: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dask_workers, "SECONDS_TO_CONNECT", 1)
    (tmp_path / "garbage.json").write_text("{}")
    with pytest.raises(UserError, match=words), chosen_runner(SLIC, "cpu", dask=where):
        pass


def test_more_workers_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="-num_gpus 4: this machine has 2 GPU"), chosen_runner(SLIC, num_gpus=4):
        pass


def test_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nnunetv2_supervoxel.runners.dask_workers", raising=False)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match="pip install 'nnunetv2-supervoxel"), chosen_runner(SLIC, "cpu", num_gpus=2):
        pass


def test_paths_are_the_same_ones_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if $nnUNet_preprocessed is relative."""
    monkeypatch.chdir(tmp_path)
    shared = {"name": "a", "channels": (0,), "target": Path("out")}
    image = ImageCase(**shared, path=Path("scans/../a.nii.gz"))
    sent = dask_workers.with_absolute_paths(image)
    assert sent == replace(image, target=tmp_path / "out", path=tmp_path / "scans/../a.nii.gz")
    how = {"dataset_class": nnUNetDatasetBlosc2, "spacing": (3.0, 1.0, 1.0), "own_spacing": None, "normalised": None}
    case = PreprocessedCase(**shared, **how, folder=Path("pre"))
    assert dask_workers.with_absolute_paths(case) == replace(case, target=tmp_path / "out", folder=tmp_path / "pre")
    (tmp_path / "large").touch()  # the name means what it did
    for given, expected in {"vit_b": "vit_b", "bundled": "bundled", "own.pth": str(tmp_path / "own.pth")}.items():
        config = dask_workers.with_absolute_checkpoints(GenerationConfig(sam1_checkpoint=given))
        assert (config.sam1_checkpoint, config.sam2_checkpoint) == (expected, "large")


@pytest.mark.parametrize(
    ("device", "name", "gpus", "expected"),
    [
        (None, 3, 8, "cuda:3"),
        ("cuda", "node07-5", 4, "cuda:1"),
        (None, "tcp://10.0.0.1:4", 1, None),
        (None, 1, 0, None),
        ("cpu", 1, 8, "cpu"),
        (None, "worker", 8, None),
    ],
)
def test_every_worker_has_a_gpu_of_its_own(device: str | None, name: object, gpus: int, expected: str | None) -> None:
    assert dask_workers.worker_device(device, name, gpus) == expected
