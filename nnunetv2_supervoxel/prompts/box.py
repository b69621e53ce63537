"""A 2D bounding box."""

from __future__ import annotations

import numpy as np

from nnunetv2_supervoxel.prompts.interaction import Interaction
from nnunetv2_supervoxel.prompts.slices import draw_slice

# Users leave a little space around an object, and sometimes cut off a part of it. A margin is a share of the object's
# extent, drawn from this range.
MARGIN = (-0.05, 0.15)


def draw_box(target: np.ndarray, region: np.ndarray, rng: np.random.Generator) -> Interaction:
    """A filled rectangle on one slice, around one piece of `region`. Each side is a little off.

    Args:
        target: boolean (z, y, x), the object; the box is positive if `region` lies inside it.
        region: boolean (z, y, x), what to frame: entirely inside the object or entirely outside.
        rng: draws slice and margins.
    """
    piece = draw_slice(region, rng)
    start, stop = [], []
    for extent in piece.mask.shape:
        before, after = (round(extent * share) for share in rng.uniform(*MARGIN, size=2))
        start.append(-before)
        stop.append(max(extent + after, 1 - before))
    drawn = np.ones([last - first for first, last in zip(start, stop, strict=True)], bool)
    inside = piece.voxel(tuple(np.argwhere(piece.mask)[0]))
    return piece.interaction("box", bool(target[inside]), drawn, tuple(start))
