"""Which part of an image isn't background."""

from __future__ import annotations

import cc3d
import numpy as np
from skimage.filters import threshold_otsu


def brighter_part(values: np.ndarray) -> np.ndarray:
    """Voxels above the threshold that splits intensities best (Otsu, 1979); all of them if there is one value only.

    Args:
        values: real numbers of any shape, none of them NaN.

    Returns:
        Boolean, of the same shape.
    """
    if values.min() == values.max():
        return np.ones(values.shape, bool)
    return values > threshold_otsu(values)


def foreground(values: np.ndarray) -> np.ndarray:
    """The brighter part of an image with its holes filled.

    Args:
        values: real numbers (z, y, x), none of them NaN.

    Returns:
        Boolean (z, y, x). A hole is darker, and has no face-connected way to the volume's border.
    """
    inside = brighter_part(values)
    dark = cc3d.connected_components(~inside, connectivity=6)
    thick = [axis for axis in range(3) if dark.shape[axis] > 1]  # of a single slice, all voxels are at the border
    open_to_the_border = np.zeros(dark.max() + 1, bool)
    for axis in thick:
        for end in (0, -1):
            open_to_the_border[np.unique(dark.take(end, axis))] = True
    return inside | ~open_to_the_border[dark]
