"""Results of a long benchmark, kept in a file, so that an interrupted run goes on where it was."""

from __future__ import annotations

import json
import os
import sys
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

    def note(self, key: str, value: object) -> None:
        """Keep what isn't a result."""
        self.content[key] = value
        self._write()

    def _write(self) -> None:
        aside = self.path.with_suffix(".writing")
        aside.write_text(json.dumps(self.content, indent=1) + "\n")
        os.replace(aside, self.path)


def spread(values: np.ndarray) -> str:
    """The sample's standard deviation, or "-" for a single value."""
    return f"{values.std(ddof=1):.3f}" if len(values) > 1 else "-"
