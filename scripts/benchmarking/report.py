"""The figures of a benchmark, printed as a table and written as JSON, and the command line that this needs."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("blosc2", "numpy", "torch", "nnunetv2", "nnunetv2-supervoxel")


def make_parser(description: str) -> argparse.ArgumentParser:
    """A parser for a benchmark's command line. It knows `--json` already."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser


def compared(
    measured: str,
    usual: float | None,
    ours: float | None,
    ratio: float,
    agreement: str,
    goal: str | None = None,
    reached: bool | None = None,
) -> dict:
    """A row of figures that sets the usual way and ours side by side.

    Args:
        measured: what the figures are, with their unit.
        usual: figure of the usual way.
        ours: figure of our way.
        ratio: the number that the goal is about.
        agreement: how far both ways give the same result.
        goal: such as ">= 10".
        reached: whether the ratio reaches the goal.
    """
    return {
        "measured": measured,
        "usual": usual,
        "ours": ours,
        "ratio": ratio,
        "goal": goal,
        "reached": None if reached is None else "yes" if reached else "NO",
        "agreement": agreement,
    }


def report(rows: Sequence[dict], settings: dict, path: Path | None) -> None:
    """Print rows of figures as a table, and write them as JSON if a path is given.

    Args:
        rows: what was measured. All have the same keys, which head the columns.
        settings: how it was measured. The machine and package versions are added.
        path: of the JSON file, or None.
    """
    cells = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *others in cells:
        right = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *right]))
    if path:
        packages = {name: version(name) for name in PACKAGES}
        content = {"rows": list(rows), "settings": settings, "machine": _machine(), "packages": packages}
        path.write_text(json.dumps(content, indent=1) + "\n")


def _machine() -> dict:
    """The machine, and how busy it was."""
    model = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return {"processor": model, "cores": os.cpu_count(), "load_when_done": round(os.getloadavg()[0], 2)}


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return "-" if value is None else str(value)
