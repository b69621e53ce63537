"""What a machine can do at best, and a slice on which nothing is lost."""

from __future__ import annotations

import numpy as np
import torch

from benchmarking.clock import Clock


def matrix_rate(device: torch.device, bfloat16: bool, size: int = 2048) -> float:
    """Floating-point operations per second of a square matrix product, the best of ten."""
    matrix = torch.randn(size, size, device=device, dtype=torch.bfloat16 if bfloat16 else torch.float32)
    clock = Clock(device)
    for _ in range(10):
        with clock("product"):
            matrix @ matrix
    return 2 * size**3 / min(clock.times["product"])


def disc(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A bright disc on dark ground: the slice, and the disc's mask."""
    height, width = size
    y, x = np.indices((height, width))
    disc = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (height / 4) ** 2
    return (0.2 + 0.6 * disc).astype(np.float32), disc
