"""Processes that work on cases."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker
from types import TracebackType
from typing import Any


class WorkerProcesses(ProcessPoolExecutor):
    """Processes that start afresh: forking one that has loaded PyTorch or blosc2 threads can deadlock.

    Ctrl-C in a terminal goes to all processes there. These leave it to the one that started them, from their first
    moment on. After an error, or Ctrl-C, what was begun is waited for, and nothing further is begun.
    """

    def __init__(self, count: int) -> None:
        super().__init__(count, get_context("spawn"))

    def submit(self, function: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """As in the parent class, which starts a process whenever all are at work."""
        with _without_ctrl_c():
            return super().submit(function, *args, **kwargs)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.shutdown(cancel_futures=True)


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes that are started in here never see SIGINT. Here, one that comes meanwhile takes effect afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # multiprocessing's own; when it starts, it would let the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
