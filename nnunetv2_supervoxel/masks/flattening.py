"""Supervoxels, which may overlap, as one label map."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet


def largest_first(supervoxels: SupervoxelSet) -> list[int]:
    """Indices in the order in which supervoxels are painted, so that smaller ones lie on top."""
    return sorted(range(len(supervoxels)), key=lambda index: -supervoxels.supervoxels[index].voxels)


def paint(parts: Iterable[tuple[int, np.ndarray, tuple[slice, ...]]], shape: tuple[int, ...]) -> np.ndarray:
    """Masks painted over each other: a label map, uint16 (z, y, x). A mask's value is its index plus 1.

    Args:
        parts: index of a supervoxel, a boolean part of the volume, and the place of this part.
        shape: of the volume in voxels.
    """
    labels = np.zeros(shape, np.uint16)
    for index, mask, place in parts:
        labels[place][mask] = index + 1
    return labels


def flatten(supervoxels: SupervoxelSet) -> np.ndarray:
    """The label map, uint16 (z, y, x), of supervoxels: the first is 1, the second 2, ...; smaller ones lie on top."""
    chosen = ((index, supervoxels.supervoxels[index]) for index in largest_first(supervoxels))
    return paint(((index, one.mask, one.slices) for index, one in chosen), supervoxels.shape)
