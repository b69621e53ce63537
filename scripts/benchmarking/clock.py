"""How long something takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Clock:
    """Wall-clock seconds of named stages: ``with clock("tracking"): ...``.

    Args:
        device: where the work is done. On CUDA, a stage ends when all of its work is done.

    Attributes:
        times: the seconds that every stage took, by its name, one number for each time that it ran.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.times: dict[str, list[float]] = {}
        self._device = device

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time what runs inside, and count it for a stage."""
        start = time.perf_counter()
        yield
        if self._device is not None and self._device.type == "cuda":
            torch.cuda.synchronize()
        self.times.setdefault(stage, []).append(time.perf_counter() - start)

    def total(self, stage: str) -> float:
        """Seconds that a stage took in all, 0 if it never ran."""
        return sum(self.times.get(stage, []))

    def median(self, stage: str) -> float:
        """Seconds that a stage took, the median over the times that it ran."""
        return statistics.median(self.times[stage])

    def restart(self) -> None:
        """Forget all stages."""
        self.times.clear()
