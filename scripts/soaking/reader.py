"""A reader that looks at all cases all the time, and finds whether one is ever there by halves."""

from __future__ import annotations

import hashlib
import json
import pickle
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import blosc2


def read_whole(folder: Path, case: str) -> bool:
    """Look at a case as a training does: once its array is there, everything is. Gives whether it was there.

    Raises:
        AssertionError: it was there by halves.
    """
    array = folder / f"{case}.b2nd"
    inode = _inode(array)
    try:
        content = array.read_bytes()
        provenance, pickled = ((folder / f"{case}{end}").read_bytes() for end in (".json", ".pkl"))
    except FileNotFoundError:
        assert inode is None or _inode(array) != inode, f"{array} is there without its JSON and pickle"
        return False
    if _inode(array) != inode:  # it was replaced meanwhile
        return False
    said = json.loads(provenance)
    assert said["array_sha256"] == hashlib.sha256(content).hexdigest(), f"{array} isn't the one that its JSON names"
    assert len(said["supervoxels"]) == said["n"] == len(blosc2.ndarray_from_cframe(content))
    locations = pickle.loads(pickled)["class_locations"]
    assert sorted(locations) == list(range(1, said["n"] + 1)), f"{case}.pkl is another one's"
    return True


def _inode(path: Path) -> int | None:
    """Which file it is now; None if there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


class Reader:
    """A thread that reads until the end. What it finds wrong is raised there.

    Args:
        folder: of the supervoxels.
        cases: identifiers.

    Attributes:
        seen: how often it saw a whole case.
    """

    def __init__(self, folder: Path, cases: Sequence[str]) -> None:
        self.seen = 0
        self._folder, self._cases = folder, cases
        self._ended = threading.Event()
        self._wrong: list[BaseException] = []
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        if self._wrong and kind is None:
            raise self._wrong[0]

    def _look(self) -> None:
        try:
            while not self._ended.is_set():
                self.seen += sum(read_whole(self._folder, case) for case in self._cases)
                time.sleep(0.001)
        except BaseException as wrong:
            self._wrong.append(wrong)
