"""Phantoms of two families in one dataset for benchmark_prompting.py: organs with labels, bodies without."""

from __future__ import annotations

import json
from pathlib import Path

import cc3d
import numpy as np
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel.phantoms import make_body_phantom, make_phantom

FAMILIES = {1: make_phantom, 2: make_body_phantom}  # by the label of their objects
SHAPE = (40, 72, 88)
SIZES = (150, 12_000)  # voxels; specks, and bodies that hold all the rest, are left out
FIRST_SEED = 200_000  # phantoms that the tiny checkpoints weren't trained on


def write_families(raw: Path, training: int, test: int) -> tuple[list[str], list[str]]:
    """Write a raw dataset with so many training and test cases, half of each family.

    A case shows some objects that don't touch, so that each is a component of its label. In training cases, those of
    the second family have no labels.

    Returns:
        The names of training and test cases.
    """
    names: dict[str, list[str]] = {"train": [], "test": []}
    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir(parents=True, exist_ok=True)
    for prefix, count in (("train", training), ("test", test)):
        for number in range(count):
            family = 1 + number % 2
            seed = FIRST_SEED + 1000 * (prefix == "test") + number
            phantom = FAMILIES[family](SHAPE, np.random.default_rng(seed))
            labels = apart(phantom.labels) * np.uint8(family)
            if prefix == "train" and family == 2:
                labels[:] = 0
            names[prefix].append(f"{prefix}_{number:02d}")
            sitk.WriteImage(
                sitk.GetImageFromArray(phantom.image), raw / "imagesTr" / f"{names[prefix][-1]}_0000.nii.gz"
            )
            sitk.WriteImage(sitk.GetImageFromArray(labels), raw / "labelsTr" / f"{names[prefix][-1]}.nii.gz")
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "organ": 1, "body_part": 2},
        "numTraining": training + test,
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(description))
    return names["train"], names["test"]


def apart(labels: np.ndarray) -> np.ndarray:
    """Where objects of a fit size lie that don't touch each other, small ones first: uint8 0/1 (z, y, x)."""
    taken = np.zeros(labels.shape, bool)
    sizes = np.bincount(labels.ravel())
    fit = [label for label in np.argsort(sizes) if label and SIZES[0] <= sizes[label] <= SIZES[1]]
    pieces = 0
    for label in fit:
        largest = cc3d.largest_k(labels == label, k=1, connectivity=26) > 0
        joined = cc3d.connected_components(taken | largest, connectivity=26).max()
        if joined == pieces + 1:
            taken, pieces = taken | largest, joined
    return taken.astype(np.uint8)
