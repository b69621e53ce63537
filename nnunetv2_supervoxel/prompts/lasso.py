"""A loose outline drawn by hand, filled."""

from __future__ import annotations

import cv2
import numpy as np

from nnunetv2_supervoxel.prompts.interaction import Interaction
from nnunetv2_supervoxel.prompts.slices import depth, draw_slice

LOOSENESS = 0.1  # greatest distance of the outline from the outlined piece, as a share of the piece's size
UNSTEADINESS = 0.06  # how far the hand strays (standard deviation), as a share of the piece's size


def draw_lasso(target: np.ndarray, region: np.ndarray, rng: np.random.Generator) -> Interaction:
    """A filled outline on one slice, loosely around one piece of `region`.

    Args:
        target: boolean (z, y, x), the object; the lasso is positive if `region` lies inside it.
        region: boolean (z, y, x), what to outline: entirely inside the object or entirely outside.
        rng: draws slice, looseness and the hand's wavering.
    """
    piece = draw_slice(region, rng)
    size = float(np.sqrt(np.count_nonzero(piece.mask)))
    away = rng.uniform(0.5, 1 + LOOSENESS * size)
    stray = 0.3 + UNSTEADINESS * size
    room = int(np.ceil(away + 3 * stray)) + 1
    drawn = _outline(np.pad(piece.mask, room), away, stray, max(1.0, size / 4), rng)
    inside = piece.voxel(tuple(np.argwhere(piece.mask)[0]))
    return piece.interaction("lasso", bool(target[inside]), drawn, (-room, -room))


def _outline(mask: np.ndarray, away: float, stray: float, smoothness: float, rng: np.random.Generator) -> np.ndarray:
    """`mask` grown by `away` pixels, in one piece without holes. Its rim strays smoothly by `stray` pixels."""
    inwards = depth(mask)
    outwards = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    wander = cv2.GaussianBlur(rng.standard_normal(mask.shape), (0, 0), smoothness)
    wander *= stray / max(wander.std(), 1e-6)
    # However far the hand strays, the outline goes around the core of the piece.
    limit = np.clip(away + wander, -0.5 * inwards.max(), away + 3 * stray)
    drawn = (outwards - inwards < limit).astype(np.uint8)
    contours, _ = cv2.findContours(drawn, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(drawn)
    cv2.drawContours(filled, [max(contours, key=cv2.contourArea)], -1, color=1, thickness=cv2.FILLED)
    return filled.astype(bool)
