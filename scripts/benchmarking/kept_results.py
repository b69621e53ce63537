"""Results of a long benchmark, kept in a file, so that an interrupted run goes on where it was."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np


class KeptResults:
    """What is finished.

    Args:
        path: of the file.
        budget: what decides the results; anything that JSON knows.

    Attributes:
        content: "budget", "cells" (results by name), and what was noted.

    Raises:
        SystemExit: the file belongs to another budget.
    """

    def __init__(self, path: Path, budget: dict) -> None:
        self.path = path
        self.content: dict[str, Any] = {"budget": json.loads(json.dumps(budget)), "cells": {}}
        if path.exists():
            kept = json.loads(path.read_text())
            if kept["budget"] != self.content["budget"]:
                sys.exit(f"{path} holds results of another budget; take another --folder.")
            self.content = kept
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write()

    @property
    def cells(self) -> dict[str, dict]:
        """Results by their names."""
        return self.content["cells"]

    def add(self, name: str, result: dict) -> None:
        """Keep a result."""
        self.cells[name] = result
        self._write()

    def run(self, work: Mapping[str, Callable[[], dict]], jobs: int, say: Callable[[dict], str]) -> list[str]:
        """Make results, `jobs` at once, keep each as soon as it is there, and print it.

        Args:
            work: makes a result, with its "seconds" in it, by the result's name.
            jobs: how many at once.
            say: what to print of a result.

        Returns:
            Why others are missing.
        """
        failures = []
        with ThreadPoolExecutor(jobs) as pool:
            running = {pool.submit(make): name for name, make in work.items()}
            for done in as_completed(running):
                try:
                    name, result = running[done], done.result()
                    self.add(name, result)
                    print(f"{name}: {say(result)} ({result['seconds']:.0f} s)", flush=True)
                except SystemExit as failure:  # the others go on, and their results are kept
                    failures.append(str(failure))
        return failures

    def note(self, key: str, value: object) -> None:
        """Keep what isn't a result."""
        self.content[key] = value
        self._write()

    def _write(self) -> None:
        aside = self.path.with_suffix(".writing")
        aside.write_text(json.dumps(self.content, indent=1) + "\n")
        os.replace(aside, self.path)


def file_name(name: str) -> str:
    """A result's name without spaces, for its files and folders."""
    return name.replace(", ", "_").replace(" ", "_")


def spread(values: np.ndarray) -> str:
    """The sample's standard deviation, or "-" for a single value."""
    return f"{values.std(ddof=1):.3f}" if len(values) > 1 else "-"
