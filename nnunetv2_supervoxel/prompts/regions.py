"""Where a prediction is wrong."""

from __future__ import annotations

import cc3d
import numpy as np

from nnunetv2_supervoxel.masks.boxes import bounding_box


def draw_error_region(target: np.ndarray, prediction: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """One connected region of false negatives or false positives. Larger regions are drawn more often.

    Args:
        target: boolean (z, y, x), the object.
        prediction: boolean (z, y, x).
        rng: draws the region, with probability proportional to its voxels.

    Returns:
        boolean (z, y, x): 26-connected, entirely inside the target or entirely outside. None if nothing is wrong.
    """
    wrong = target != prediction
    voxels = np.flatnonzero(wrong)
    if not voxels.size:
        return None
    # One wrong voxel is drawn, and the region around it is taken. So larger regions are drawn more often, and only
    # regions of one kind (false negatives or false positives) have to be found.
    voxel = np.unravel_index(voxels[rng.integers(voxels.size)], wrong.shape)
    wrong &= target if target[voxel] else prediction
    box = bounding_box(wrong)
    assert box is not None  # the voxel is in it
    labels = cc3d.connected_components(wrong[box].view(np.uint8), connectivity=26, binary_image=True)
    wrong[box] = labels == labels[tuple(index - side.start for index, side in zip(voxel, box, strict=True))]
    return wrong
