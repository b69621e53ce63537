"""Which supervoxels stay, whatever made them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.masks.overlaps import overlapping_pairs
from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel, SupervoxelSet


def select(made: SupervoxelSet, config: GenerationConfig, inside: np.ndarray | None = None) -> SupervoxelSet:
    """Drop what is too small, too large, background, inconsistent, or there already; the others keep their order.

    Args:
        made: by a method.
        config: the limits.
        inside: the foreground, boolean (z, y, x); None: everything.

    Returns:
        The others, and how many were dropped for which reason; if all were, a note says so.
    """
    fitting = [one for one in made.supervoxels if _has_size(one, made, config)]
    objects = [one for one in fitting if inside is None or _is_foreground(one, inside, config)]
    consistent = [one for one in objects if _is_consistent(one, config)]
    kept = consistent
    if config.max_overlap_iou is not None:
        kept = without_duplicates(consistent, config.max_overlap_iou)
    dropped = {
        "size": len(made) - len(fitting),
        "background": len(fitting) - len(objects),
        "consistency": len(objects) - len(consistent),
        "overlap": len(consistent) - len(kept),
    }
    notes = made.notes
    if made.supervoxels and not kept:
        notes = (
            *notes,
            f"none of {len(made)} supervoxels has the size, place and consistency that the config asks for",
        )
    return replace(made, supervoxels=tuple(kept), notes=notes, dropped=dropped)


def without_duplicates(supervoxels: Sequence[Supervoxel], most: float) -> list[Supervoxel]:
    """Go through supervoxels from the best on, and drop those that overlap one that stayed.

    Args:
        supervoxels: the better one has the higher consistency, or where none is known the higher predicted IoU; of
            equals, it is the first.
        most: 3D IoU up to which both stay.
    """
    overlaps = defaultdict(set)
    for one, other, iou in overlapping_pairs(supervoxels, most or np.finfo(float).tiny):
        if iou > most:
            overlaps[one].add(other)
            overlaps[other].add(one)
    kept: set[int] = set()
    for number in sorted(range(len(supervoxels)), key=lambda i: _quality(supervoxels[i]), reverse=True):
        if not overlaps[number] & kept:
            kept.add(number)
    return [supervoxels[number] for number in sorted(kept)]


def _quality(supervoxel: Supervoxel) -> tuple[float, float]:
    return supervoxel.consistency or 0.0, supervoxel.predicted_iou or 0.0


def _has_size(supervoxel: Supervoxel, of: SupervoxelSet, config: GenerationConfig) -> bool:
    mm3 = supervoxel.voxels * float(np.prod(of.spacing))
    mm = max(voxels * size for voxels, size in zip(supervoxel.shape, of.spacing, strict=True))
    return bool(
        supervoxel.voxels <= config.max_supervoxel_share * np.prod(of.shape)
        and (config.min_volume_mm3 or 0) <= mm3 <= (config.max_volume_mm3 or np.inf)
        and (config.min_extent_mm or 0) <= mm <= (config.max_extent_mm or np.inf)
    )


def _is_foreground(supervoxel: Supervoxel, inside: np.ndarray, config: GenerationConfig) -> bool:
    within = np.count_nonzero(supervoxel.mask & inside[supervoxel.slices])
    return bool(within >= config.min_foreground_share * supervoxel.voxels)


def _is_consistent(supervoxel: Supervoxel, config: GenerationConfig) -> bool:
    return supervoxel.consistency is None or supervoxel.consistency >= (config.min_consistency or 0)
