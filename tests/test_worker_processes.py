"""Processes that work on cases."""

import os
import signal
import time
from pathlib import Path

import pytest

from nnunetv2_supervoxel.worker_processes import WorkerProcesses


def ignores_ctrl_c(_: int) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def survive_ctrl_c() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
    return "alive"


def wait_beside(path: Path) -> None:
    time.sleep(0.5)
    path.touch()


def test_ctrl_c_is_for_the_one_who_waits() -> None:
    with WorkerProcesses(2) as pool:
        assert all(pool.map(ignores_ctrl_c, range(8)))
        assert pool.submit(survive_ctrl_c).result() == "alive"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert pool.submit(survive_ctrl_c).result() == "alive"


def submit_and_interrupt(folder: Path) -> None:
    with WorkerProcesses(1) as pool:
        for number in range(8):
            pool.submit(wait_beside, folder / str(number))
        while not list(folder.iterdir()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)


def test_after_ctrl_c_nothing_further_is_begun(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        submit_and_interrupt(tmp_path)
    assert 1 <= len(list(tmp_path.iterdir())) < 8
