"""Dice of structures with supervoxels: with the best one, and with the best union of some."""

from __future__ import annotations

import numpy as np

from nnunetv2_supervoxel.quality.overlap_counts import Overlaps

MOSTLY = 0.5


def best_dice(overlaps: Overlaps) -> np.ndarray:
    """Dice of every structure with the one supervoxel that fits it best.

    Dice is 2 |A ∩ B| / (|A| + |B|) (Dice, 1945).

    Returns:
        (s,), 0 to 1; 0 where no supervoxel shares a voxel with the structure.
    """
    shared, best = overlaps.shared, np.zeros(len(overlaps.structures))
    row, column = shared.coords
    np.maximum.at(best, column, 2 * shared.data / (overlaps.sizes[row] + overlaps.structures.voxels[column]))
    return best


def achievable_dice(overlaps: Overlaps) -> np.ndarray:
    """Dice of every structure with the best union of supervoxels that was found.

    It is the 3D form of the achievable segmentation accuracy (Liu et al., "Entropy rate superpixel segmentation", CVPR
    2011), in which every superpixel goes to the structure that it lies in most. That makes the best segmentation of
    superpixels that are a partition. Ours may overlap. So only supervoxels with at least half of their voxels in the
    structure take part, those with the largest share first, and each is taken if that raises the Dice of the union.
    (New voxels of which half or more lie inside never lower it. In a partition all of them are taken.) Where the
    best single supervoxel is better than that union, it counts.

    Returns:
        (s,), 0 to 1, never less than `best_dice`.
    """
    shared, achieved = overlaps.shared.tocsc(), best_dice(overlaps)
    union = np.zeros(overlaps.supervoxels.shape, bool)
    for structure in range(len(achieved)):
        column = slice(shared.indptr[structure], shared.indptr[structure + 1])
        share = shared.data[column] / overlaps.sizes[shared.indices[column]]
        order = np.argsort(-share, kind="stable")
        candidates = shared.indices[column][order[share[order] >= MOSTLY]].tolist()
        if len(candidates) > 1:
            dice = _dice_of_union(overlaps, structure, candidates, union)
            achieved[structure] = max(achieved[structure], dice)
    return achieved


def _dice_of_union(overlaps: Overlaps, structure: int, candidates: list[int], union: np.ndarray) -> float:
    """Dice of a structure with the union of those candidates that raise it, tried in their order.

    Args:
        overlaps: supervoxels and structures.
        structure: index.
        candidates: indices of supervoxels.
        union: boolean (z, y, x), False, to work in; False again afterwards.
    """
    structures, supervoxels = overlaps.structures, overlaps.supervoxels.supervoxels
    chosen = structures.components_of(structure)
    inside, size, dice = 0, 0, 0.0
    for candidate in candidates:
        box = supervoxels[candidate].slices
        new = supervoxels[candidate].mask & ~union[box]
        more_inside = inside + int(np.count_nonzero(chosen[structures.components[box][new]]))
        larger = size + int(np.count_nonzero(new))
        raised = 2 * more_inside / (larger + int(structures.voxels[structure]))
        if raised > dice:
            union[box] |= new
            inside, size, dice = more_inside, larger, raised
    for candidate in candidates:
        union[supervoxels[candidate].slices] = False
    return dice
