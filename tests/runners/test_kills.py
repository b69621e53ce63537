"""SIGKILL at random moments, with a reader that looks on all the time."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import blosc2
import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

CASES = [f"case{number}" for number in range(6)]
SHAPE = (14, 30, 41)
KILLS = 10
PLANS = {
    "transpose_forward": [0, 1, 2],
    "foreground_intensity_properties_per_channel": {"0": {}},
    "configurations": {
        "3d_fullres": {
            "data_identifier": "cases",
            "architecture": {},
            "spacing": [2.5, 0.7, 0.9],
            "patch_size": [16, 32, 32],
            "normalization_schemes": ["ZScoreNormalization"],
        }
    },
}

# Imports once, then forks a process for every line of arguments, says its ID, and when it ends how.
ZYGOTE = """
import gc, json, os, sys
import nnunetv2_supervoxel.runners.generate, skimage.segmentation
from nnunetv2_supervoxel.commands.generate_dataset import main
gc.freeze()  # runs collect garbage after every case; what was imported takes no time then
print("ready", flush=True)
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        sys.argv = ["nnUNetv2_supervoxel_generate", *json.loads(line)]
        sys.stdout = sys.stderr = open("generate.log", "a")
        code = 99
        try:
            code = main()
        finally:
            sys.stdout.flush()
            os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Generate:
    """Starts real runs of nnUNetv2_supervoxel_generate, without importing everything anew each time."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "generate.log"
        self._process = subprocess.Popen(
            [sys.executable, "-c", ZYGOTE], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout.readline() == "ready\n"

    def __call__(self, *arguments: object, kill_after: float | None = None) -> int:
        """The exit code; -9 if it was killed after so many seconds."""
        print(json.dumps([str(argument) for argument in arguments]), file=self._process.stdin, flush=True)
        pid = int(self._process.stdout.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(pid, signal.SIGKILL)  # if it has ended, it isn't waited for yet, or its ID isn't used again so soon
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)


@pytest.fixture
def dataset(nnunet_folders: dict[str, str]) -> Iterator[Path]:
    """Dataset995_Killed, preprocessed."""
    folder = Path(nnunet_folders["nnUNet_preprocessed"]) / "Dataset995_Killed"
    (folder / "cases").mkdir(parents=True)
    (folder / "nnUNetPlans.json").write_text(json.dumps(PLANS))
    rng = np.random.default_rng(0)
    for case in CASES:
        image = rng.normal(size=(1, *SHAPE)).astype(np.float32)
        shape = {name: image.shape for name in ("chunks", "blocks", "chunks_seg", "blocks_seg")}
        nnUNetDatasetBlosc2.save_case(image, image.astype(np.int8), {}, str(folder / "cases" / case), **shape)
    yield folder
    shutil.rmtree(folder)


def read_whole(folder: Path, case: str) -> bool:
    """Look at a case as a training does: once its array is there, everything is. Gives whether it was there."""
    array = folder / f"{case}.b2nd"
    try:
        before = array.stat()
        content = array.read_bytes()
        provenance, pickled = ((folder / f"{case}{end}").read_bytes() for end in (".json", ".pkl"))
        after = array.stat()
    except FileNotFoundError:
        assert not array.exists() or array.stat().st_ino != before.st_ino, "an array without its JSON and pickle"
        return False
    if before.st_ino != after.st_ino:  # it was replaced meanwhile
        return False
    said = json.loads(provenance)
    assert said["array_sha256"] == hashlib.sha256(content).hexdigest()
    assert len(said["supervoxels"]) == said["n"] == len(blosc2.ndarray_from_cframe(content))
    assert sorted(pickle.loads(pickled)["class_locations"]) == list(range(1, said["n"] + 1))
    return True


class Reader:
    """A thread that looks at all cases again and again. What it found wrong is raised at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ended = threading.Event()
        self._wrong: list[BaseException] = []
        self._thread = threading.Thread(target=self._look)
        self.seen = 0

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._wrong:
            raise self._wrong[0]

    def _look(self) -> None:
        try:
            while not self._ended.is_set():
                self.seen += sum(read_whole(self._folder, case) for case in CASES)
                time.sleep(0.001)
        except BaseException as wrong:
            self._wrong.append(wrong)


def contents(folder: Path) -> dict[str, bytes]:
    """Files by name, hidden ones, too."""
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in sorted(folder.iterdir())}


def test_kills_lose_nothing_leave_nothing_and_no_reader_sees_half_a_case(dataset: Path, tmp_path: Path) -> None:
    config = tmp_path / "slic.yaml"
    config.write_text("method: slic\nmasks_per_image: 12\n")
    arguments = ("-d", 995, "-config", config, "-device", "cpu")
    output = dataset / "cases_supervoxels"
    generate = Generate(tmp_path)
    try:
        began = time.monotonic()
        assert generate(*arguments) == 0, generate.log.read_text()
        lasted = time.monotonic() - began
        undisturbed = contents(output)
        assert len(undisturbed) == 3 * len(CASES)
        shutil.rmtree(output)
        output.mkdir()
        rng = np.random.default_rng(0)
        with Reader(output) as reader:
            # Every other run makes anew what is there: a run that replaces files is killed, too.
            moments = rng.uniform(0, lasted, KILLS)
            ends = [
                generate(*arguments, *["--overwrite"] * (number % 2), kill_after=moment)
                for number, moment in enumerate(moments)
            ]
            assert generate(*arguments) == 0, generate.log.read_text()
            time.sleep(0.1)
    finally:
        generate.close()
    assert ends.count(-signal.SIGKILL) >= KILLS // 2, ends
    assert reader.seen >= len(CASES)
    assert sorted(os.listdir(output)) == sorted(undisturbed)  # no hidden file either
    assert contents(output) == undisturbed
