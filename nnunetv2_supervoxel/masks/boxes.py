"""Bounding boxes."""

from __future__ import annotations

import numpy as np


def bounding_box(mask: np.ndarray) -> tuple[slice, ...] | None:
    """The smallest box around the True voxels of an array of any dimension; None if there are none."""
    box: list[slice] = []
    while mask.ndim:  # what is left has one axis less, so later axes cost little
        hits = np.flatnonzero(mask.reshape(len(mask), -1).any(axis=1))
        if not hits.size:
            return None
        box.append(slice(int(hits[0]), int(hits[-1]) + 1))
        mask = np.asarray(mask.any(axis=0))
    return tuple(box)
