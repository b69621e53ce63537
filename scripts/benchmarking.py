"""What the benchmarks share: a table of figures, the same as JSON, and a dataset of phantoms to measure on."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from small_training import environment, number, run

from nnunetv2_supervoxel import store
from nnunetv2_supervoxel.boxes import bounding_box
from nnunetv2_supervoxel.packed_mask import PackedMask
from nnunetv2_supervoxel.phantoms import make_phantom
from nnunetv2_supervoxel.supervoxels import Supervoxel, SupervoxelSet


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
        _write_raw(Path(os.environ["nnUNet_raw"]) / dataset, shape, cases)
        run("nnUNetv2_plan_and_preprocess", "-d", number(dataset), "-c", "3d_fullres", "-np", 2, "-npfp", 2)
        asked.write_text(json.dumps(made))
    return preprocessed


def store_true_objects(folder: Path, shape: tuple[int, int, int], cases: int, patch_size: Sequence[int]) -> None:
    """Store every visible region of the phantoms as a supervoxel.

    Args:
        folder: the supervoxels' folder.
        shape: of the volumes, (z, y, x) in voxels, as given to `phantom_dataset`; `cases` likewise.
        cases: how many volumes.
        patch_size: training patch (z, y, x) in voxels.
    """
    for case in range(cases):
        phantom = make_phantom(shape, np.random.default_rng(case))
        supervoxels = []
        for label in range(1, len(phantom.parents) + 1):
            mask = phantom.labels == label
            box = bounding_box(mask)
            if box is not None:  # a region can be covered by others
                origin = tuple(side.start for side in box)
                supervoxels.append(Supervoxel(PackedMask.of(mask[box]), origin, 0, origin[0], 1.0, 1.0))
        store.write_case(folder, _name(case), SupervoxelSet(shape, tuple(supervoxels)), {}, patch_size)


def add_configuration(plans: Path, name: str, patch_size: Sequence[int], batch_size: int) -> None:
    """Add a configuration with the small network of the tests, for the cases preprocessed for 3d_fullres."""
    content = json.loads(plans.read_text())
    architecture = content["configurations"]["3d_fullres"]["architecture"]
    architecture["arch_kwargs"] |= {
        "n_stages": 3,
        "features_per_stage": [8, 16, 16],
        "kernel_sizes": [[3, 3, 3]] * 3,
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        "n_conv_per_stage": [1] * 3,
        "n_conv_per_stage_decoder": [1] * 2,
    }
    content["configurations"][name] = {
        "inherits_from": "3d_fullres",
        "patch_size": list(patch_size),
        "batch_size": batch_size,
        "architecture": architecture,
    }
    plans.write_text(json.dumps(content, indent=1))


def _write_raw(folder: Path, shape: tuple[int, int, int], cases: int) -> None:
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for case in range(cases):
        phantom = make_phantom(shape, np.random.default_rng(case))
        anything = (phantom.labels > 0).astype(np.uint8)
        for path, array in (
            (f"imagesTr/{_name(case)}_0000.nii.gz", phantom.image),
            (f"labelsTr/{_name(case)}.nii.gz", anything),
        ):
            sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / path))
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "anything": 1},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def _name(case: int) -> str:
    return f"phantom{case:03d}"


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return "-" if value is None else str(value)
