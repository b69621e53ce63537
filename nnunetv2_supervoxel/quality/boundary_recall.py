"""How much of structures' boundaries supervoxels' boundaries follow."""

from __future__ import annotations

import numpy as np

from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel
from nnunetv2_supervoxel.quality.overlap_counts import Overlaps


def boundary_recall(overlaps: Overlaps) -> np.ndarray:
    """Share of every structure's boundary voxels that have a supervoxel's boundary voxel within one voxel.

    Boundary recall (Stutz et al., "Superpixels: an evaluation of the state-of-the-art", CVIU 2018; in 3D Xu & Corso,
    "Evaluation of super-voxel methods for early video processing", CVPR 2012). A boundary voxel belongs to a structure
    or a supervoxel, and one of its six face neighbours doesn't. What lies at the volume's border is no boundary by
    that alone. Within one voxel are a voxel and its 26 neighbours. Superpixels that are a partition have one map of
    boundaries. Supervoxels overlap, so the boundaries of all of them count. So many supervoxels reach a high recall
    more easily than few.

    Returns:
        (s,), 0 to 1; NaN for a structure that fills the volume.
    """
    structures = overlaps.structures
    near = np.zeros(overlaps.supervoxels.shape, bool)
    for one in overlaps.supervoxels.supervoxels:
        if one.voxels:
            _mark_boundary(near, one)
    _dilate(near)
    edge = boundary(structures.components) & (structures.components > 0)
    of_structures = structures.count(edge)
    recall = np.full(len(structures), np.nan)
    edge &= near
    return np.divide(structures.count(edge), of_structures, out=recall, where=of_structures > 0)


def boundary(values: np.ndarray) -> np.ndarray:
    """Boolean (z, y, x): where one of the six face neighbours within the array has another value."""
    found = np.zeros(values.shape, bool)
    for axis in range(values.ndim):
        there, ahead = np.moveaxis(found, axis, 0), np.moveaxis(values, axis, 0)
        differs = ahead[1:] != ahead[:-1]
        there[1:] |= differs
        there[:-1] |= differs
    return found


def _mark_boundary(marked: np.ndarray, supervoxel: Supervoxel) -> None:
    """Set a supervoxel's boundary voxels in a volume to True."""
    around = tuple(
        slice(max(0, side.start - 1), min(size, side.stop + 1))
        for side, size in zip(supervoxel.slices, marked.shape, strict=True)
    )
    mask = np.zeros([side.stop - side.start for side in around], bool)
    inner = zip(supervoxel.slices, around, strict=True)
    mask[tuple(slice(side.start - outer.start, side.stop - outer.start) for side, outer in inner)] = supervoxel.mask
    marked[around] |= boundary(mask) & mask


def _dilate(mask: np.ndarray) -> None:
    """Set the 26 neighbours of True voxels to True."""
    for axis in range(mask.ndim):
        along = np.moveaxis(mask, axis, 0)
        before = along.copy()
        along[1:] |= before[:-1]
        along[:-1] |= before[1:]
