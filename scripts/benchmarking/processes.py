"""One side of a benchmark in a process of its own, and how much memory it takes there."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar
from unittest import mock

Result = TypeVar("Result")


def in_own_process(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function of the running script in a fresh Python process, without warnings and progress bars.

    Args:
        function: one at the top of a module, so that the other process finds it.
        arguments: sent to the other process.

    Returns:
        What the function returns, sent back.
    """
    quiet = mock.patch.dict(os.environ, {"PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1"})
    with quiet, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


class MemoryPeak:
    """The most resident memory of this process, as Linux counts it, beyond what it held at first."""

    def __init__(self) -> None:
        self._before = _bytes("VmRSS")

    def restart(self) -> None:
        """Forget the peaks until now. What the process held at first stays the same."""
        Path("/proc/self/clear_refs").write_text("5")

    def bytes(self) -> int:
        """The peak since the last restart, in bytes beyond what the process held at first."""
        return _bytes("VmHWM") - self._before


def _bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024
