"""Out of memory: how it is recognised, and how work is halved until it fits."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")

# What PyTorch's allocators say; only CUDA's raises a class of its own.
_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out: Python's own error, or PyTorch's on a CPU or another device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error).lower() for message in _MESSAGES)


def free_memory() -> None:
    """Free the memory of objects that nothing refers to any more, and give CUDA's back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def halve_until_it_fits(work: Callable[[int], Result], size: int) -> tuple[Result, int]:
    """Call `work(size)`, and with half of it each time that memory runs out.

    Returns:
        What `work` returned, and the size with which it did.

    Raises:
        Exception: what `work` raised at size 1, or anything other than out of memory.
    """
    while True:
        try:
            return work(size), size
        except Exception as error:
            if not is_out_of_memory(error) or size == 1:
                raise
        # Not inside of `except`: there the traceback keeps the failed work's tensors alive.
        free_memory()
        size //= 2
