"""What the benchmarks share: a table of figures, the same as JSON, and a dataset of phantoms to measure on."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from phantom_dataset import write_raw
from small_training import environment, number, run


def parser(description: str) -> argparse.ArgumentParser:
    """For a benchmark's command line; `--json` is in it."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return made


def report(rows: Sequence[dict], settings: dict, path: Path | None) -> None:
    """Print rows of figures as a table, and write them as JSON if a path is given.

    Args:
        rows: what was measured; all have the same keys, which head the columns.
        settings: how it was measured; the machine and package versions are added.
        path: of the JSON file, or None.
    """
    cells = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *others in cells:
        right = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *right]))
    if path:
        packages = {name: version(name) for name in ("blosc2", "numpy", "torch", "nnunetv2", "nnunetv2-supervoxel")}
        content = {"rows": list(rows), "settings": settings, "machine": machine(), "packages": packages}
        path.write_text(json.dumps(content, indent=1) + "\n")


def machine() -> dict:
    """What it ran on, and how busy that was."""
    model = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return {"processor": model, "cores": os.cpu_count(), "load_when_done": round(os.getloadavg()[0], 2)}


def phantom_dataset(folder: Path, dataset: str, shape: tuple[int, int, int], cases: int) -> Path:
    """A preprocessed nnU-Net dataset of phantoms, made by nnU-Net's command, once; the dataset's preprocessed folder.

    Args:
        folder: for nnU-Net's three folders, which are put into the environment.
        dataset: "DatasetXXX_NAME".
        shape: of every volume, (z, y, x) in voxels.
        cases: how many volumes.
    """
    environment(folder)
    preprocessed = Path(os.environ["nnUNet_preprocessed"]) / dataset
    asked, made = folder / f"{dataset}.json", {"shape": list(shape), "cases": cases}
    if not asked.is_file() or json.loads(asked.read_text()) != made:
        if preprocessed.exists():
            raise SystemExit(f"{preprocessed} holds a dataset of other volumes; give another --folder, or remove it.")
        write_raw(Path(os.environ["nnUNet_raw"]) / dataset, shape, range(cases))
        run("nnUNetv2_plan_and_preprocess", "-d", number(dataset), "-c", "3d_fullres", "-np", 2, "-npfp", 2)
        asked.write_text(json.dumps(made))
    return preprocessed


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return "-" if value is None else str(value)
