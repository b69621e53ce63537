"""Good manners on a machine that other jobs use, too."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

_M_ARENA_MAX = -8  # of glibc's mallopt


def share_machine() -> None:
    """Let threads sleep while they wait, and allocate from one heap; the user's own settings win.

    OpenMP's threads would spin, which takes the cores from whatever runs beside them; it reads the variable when
    PyTorch is imported, so call this before. Heaps of their own are what glibc gives to threads, and each stays as
    large as it ever was. The number of threads is left alone: with another one PyTorch rounds differently, and single
    voxels of arrays change.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def trim_heap() -> None:
    """Give back to the system what was freed; glibc keeps it, as long as anything lies behind it."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def take_threads_asked_for() -> None:
    """As many PyTorch threads as OMP_NUM_THREADS says, if it is set.

    nnUNetv2_train takes every core for a training on the CPU; two trainings side by side then slow each other down.
    """
    import torch  # only here: `share_machine` must come before it

    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        torch.set_num_threads(int(asked))
