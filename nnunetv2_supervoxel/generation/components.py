"""The connected part of a tracked object that belongs to its seed."""

from __future__ import annotations

import cc3d
import numpy as np


def seed_component(mask: np.ndarray, seed: np.ndarray | tuple) -> np.ndarray | None:
    """The 26-connected component that holds the seed.

    Args:
        mask: boolean (z, y, x).
        seed: boolean (z, y, x), or anything that indexes `mask` to the seed's voxels.

    Returns:
        Boolean (z, y, x); of several components that the seed touches, the one with most of its voxels.
        None if the seed touches none.
    """
    labels = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=26)
    votes = np.bincount(labels[seed].ravel())
    votes[:1] = 0
    if not votes.any():
        return None
    return labels == votes.argmax()
