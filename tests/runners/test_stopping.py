"""Signals that ask a process to end."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from multiprocessing.connection import Connection

from nnunetv2_supervoxel.runners.stopping import stopping_at_signals


def lose_every_exception(ready: Connection) -> None:
    ready.send(None)
    for _ in range(100):
        with contextlib.suppress(BaseException):  # as in a destructor
            time.sleep(0.1)


def test_a_forked_worker_ends_at_once() -> None:
    """Pools of nnU-Net fork, and wait for workers that they have terminated."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    with stopping_at_signals():
        worker = fork.Process(target=lose_every_exception, args=(there,))
        worker.start()
        here.recv()
        worker.terminate()
        worker.join(5)
    assert worker.exitcode == -signal.SIGTERM
