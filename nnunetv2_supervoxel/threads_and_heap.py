"""Leaving cores and memory to other programs on the machine."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

_M_ARENA_MAX = -8  # of glibc's mallopt


def share_machine() -> None:
    """Let threads sleep while they wait, and allocate from one heap. The user's own settings are kept.

    Waiting threads of OpenMP spin by default: they keep cores busy that other programs need. OpenMP reads its variable
    when PyTorch is imported, so call this function before that.

    By default glibc gives threads heaps of their own, and a heap never shrinks.

    The number of threads stays as it is. With another number PyTorch rounds differently, and single voxels change.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def trim_heap() -> None:
    """Give freed memory back to the system. By itself glibc keeps it as long as anything in use lies behind it."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def take_threads_asked_for() -> None:
    """Use as many PyTorch threads as OMP_NUM_THREADS says, if it is set.

    nnUNetv2_train uses every core for a training on the CPU. Two trainings at the same time then slow each other down.
    """
    import torch  # only here: `share_machine` must come before it

    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        torch.set_num_threads(int(asked))
