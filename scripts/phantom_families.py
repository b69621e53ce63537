"""Phantoms of two families in one dataset for benchmark_prompting.py: organs with labels, bodies without."""

from __future__ import annotations

from pathlib import Path

import cc3d
import numpy as np
from phantom_dataset import describe_raw, write_raw_case

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
    for prefix, count in (("train", training), ("test", test)):
        for number in range(count):
            family = 1 + number % 2
            seed = FIRST_SEED + 1000 * (prefix == "test") + number
            phantom = FAMILIES[family](SHAPE, np.random.default_rng(seed))
            labels = apart(phantom.labels) * np.uint8(family)
            if prefix == "train" and family == 2:
                labels[:] = 0
            names[prefix].append(f"{prefix}_{number:02d}")
            write_raw_case(raw, names[prefix][-1], phantom.image, labels)
    describe_raw(raw, ("organ", "body_part"), training + test)
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
