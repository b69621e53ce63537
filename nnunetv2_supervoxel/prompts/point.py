"""A click."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.ndimage import distance_transform_edt

from nnunetv2_supervoxel.prompts.interaction import Interaction
from nnunetv2_supervoxel.prompts.slices import depth, draw_slice
from nnunetv2_supervoxel.randomness import weighted_choice


def draw_point(target: np.ndarray, region: np.ndarray, rng: np.random.Generator, radius: int = 4) -> Interaction:
    """A click into `region`, deep inside more often than near its rim.

    Args:
        target: boolean (z, y, x), the object; the click is positive inside it and negative outside.
        region: boolean (z, y, x), where to click: entirely inside the object or entirely outside.
        rng: draws slice and position.
        radius: of the ball around the click, in voxels.
    """
    piece = draw_slice(region, rng)
    weights = depth(piece.mask).astype(np.float64).ravel() ** 2
    row, column = np.unravel_index(weighted_choice(weights, rng), piece.mask.shape)
    position = piece.voxel((int(row), int(column)))
    return point_at(position, bool(target[position]), radius)


def point_at(position: tuple[int, int, int], positive: bool, radius: int = 4) -> Interaction:
    """The click on the voxel `position` (z, y, x)."""
    z, y, x = (int(index) - radius for index in position)
    return Interaction("point", positive, (z, y, x), point_stamp(radius))


@lru_cache(maxsize=8)
def point_stamp(radius: int) -> np.ndarray:
    """A ball filled with its normalised Euclidean distance transform, as nnInteractive places points.

    Args:
        radius: in voxels; the ball is round in voxels, whatever the spacing.

    Returns:
        float32 (2 radius + 1,) * 3: 1 at the centre, falling to the rim, 0 in the corners. Read only.
    """
    offsets = np.arange(-radius, radius + 1) ** 2
    ball = offsets[:, None, None] + offsets[:, None] + offsets <= radius**2
    distance = distance_transform_edt(ball)
    stamp = (distance / distance.max()).astype(np.float32)
    stamp.flags.writeable = False
    return stamp
