"""Opening Blosc2 arrays, whoever wrote them."""

from __future__ import annotations

import os
from pathlib import Path

import blosc2

# Notes in files that hold a program, an expression or an address in place of voxels.
_STANDS_FOR_VOXELS = ("LazyArray", "proxy-source", "b2o")


_FRAME_LENGTH = slice(16, 24)  # of the header, where the file's own length stands (Blosc2's contiguous frame format)


def is_whole(path: Path) -> bool:
    """Whether a file has the length that its header says: not whether its voxels are right, but in no time."""
    try:
        with open(path, "rb") as file:
            length = file.read(_FRAME_LENGTH.stop)[_FRAME_LENGTH]
            return path.stat().st_size == int.from_bytes(length, "big") > 0
    except OSError:
        return False


def open_blosc2(path: Path) -> blosc2.NDArray:
    """An array, opened lazily. Nothing that the file holds is run.

    `blosc2.open` isn't used: before its default was to refuse, it ran a program that a file gave for its voxels.

    Raises:
        Exception: the file is missing or damaged (blosc2 raises RuntimeError, ValueError, OSError and more), or holds
            something else than voxels.
    """
    if not path.is_file():  # early versions end the process for such a one
        raise FileNotFoundError(path)
    # As nnU-Net opens its own arrays: one thread (data loaders are many processes), mapped except on Windows.
    mapped = {} if os.name == "nt" else {"mmap_mode": "r"}
    array = blosc2.blosc2_ext.open(str(path), "r", 0, dparams={"nthreads": 1}, **mapped)
    if not isinstance(array, blosc2.NDArray) or any(note in array.schunk.meta for note in _STANDS_FOR_VOXELS):
        raise TypeError(f"{path} holds no array of voxels")
    return array
