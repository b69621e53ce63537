"""Good manners: threads that sleep, one heap, threads as the user asks for them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nnunetv2_supervoxel.threads_and_heap import take_threads_asked_for


@pytest.fixture
def seven_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(7)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("seven_threads")
@pytest.mark.parametrize(("asked", "taken"), [("3", 3), (None, 7), ("", 7), ("0", 7), ("4,2", 7), ("many", 7)])
def test_threads_are_those_asked_for(monkeypatch, asked, taken):
    if asked is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    take_threads_asked_for()
    assert torch.get_num_threads() == taken


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP tells what it does")
@pytest.mark.parametrize(
    ("environment", "sleeps"), [({}, True), ({"OMP_WAIT_POLICY": "ACTIVE"}, False)], ids=["default", "user's choice"]
)
def test_threads_sleep_while_they_wait(
    run: Callable, preprocessed: Path, monkeypatch: pytest.MonkeyPatch, environment: dict, sleeps: bool
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    arguments = ("-d", 990, "-config", "tiny", "-device", "nonsense")
    done = run("nnUNetv2_supervoxel_generate", *arguments, OMP_DISPLAY_ENV="verbose", **environment)
    assert "'nonsense' can't be used" in done.stderr
    spins = [line.split("'")[1] for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    assert [count == "0" for count in spins] == [sleeps]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heaps")
def test_threads_allocate_from_one_heap() -> None:
    code = (
        "import ctypes, threading; from nnunetv2_supervoxel.threads_and_heap import share_machine; share_machine();"
        "work = [threading.Thread(target=lambda: bytearray(5000)) for _ in range(3)];"
        "[(t.start(), t.join()) for t in work];"
        "ctypes.CDLL(None).malloc_stats()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.count("Arena") == 1
