"""Where a prediction is wrong."""

from __future__ import annotations

import cc3d
import numpy as np

from nnunetv2_supervoxel.boxes import bounding_box
from nnunetv2_supervoxel.randomness import weighted_choice


def draw_error_region(target: np.ndarray, prediction: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """One connected region of false negatives or false positives, larger ones more often.

    Args:
        target: boolean (z, y, x), the object.
        prediction: boolean (z, y, x).
        rng: draws the region, with probability proportional to its voxels.

    Returns:
        boolean (z, y, x): 26-connected, all inside the target or all outside. None if nothing is wrong.
    """
    wrong = target != prediction
    box = bounding_box(wrong)
    if box is None:
        return None
    within = wrong[box]
    kinds = within.view(np.uint8) + (within & target[box])  # 0 right, 1 too much, 2 missing
    labels = cc3d.connected_components(kinds, connectivity=26)
    voxels = np.bincount(labels.ravel())
    voxels[0] = 0  # what is right
    wrong[box] = labels == weighted_choice(voxels, rng)
    return wrong
