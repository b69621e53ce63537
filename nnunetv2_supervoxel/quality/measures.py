"""All measures of structures. Another one is a function and a line here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnunetv2_supervoxel.quality.boundary_recall import boundary_recall
from nnunetv2_supervoxel.quality.dice import achievable_dice, best_dice
from nnunetv2_supervoxel.quality.overlap_counts import Overlaps
from nnunetv2_supervoxel.quality.undersegmentation import undersegmentation_error

FOUND_DICE = 0.5

STRUCTURE_MEASURES: dict[str, Callable[[Overlaps], np.ndarray]] = {
    "best_dice": best_dice,
    "achievable_dice": achievable_dice,
    "found": lambda overlaps: best_dice(overlaps) >= FOUND_DICE,
    "boundary_recall": boundary_recall,
    "undersegmentation_error": undersegmentation_error,
}
"""By name: from supervoxels and structures to one number (s,) for every structure, NaN where there is none."""
