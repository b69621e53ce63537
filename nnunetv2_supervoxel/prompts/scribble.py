"""A stroke of the brush that stays inside what it marks."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from skimage.graph import route_through_array

from nnunetv2_supervoxel.prompts.interaction import Interaction
from nnunetv2_supervoxel.prompts.slices import depth, draw_slice

THICKNESS = 2  # voxels; nnInteractive prefers this


def draw_scribble(
    target: np.ndarray, region: np.ndarray, rng: np.random.Generator, thickness: int = THICKNESS
) -> Interaction:
    """A stroke on one slice, inside one piece of `region`: its centre line, a random curve, or a part of its contour.

    Args:
        target: boolean (z, y, x), the object; the scribble is positive if `region` lies inside it.
        region: boolean (z, y, x), what to mark: entirely inside the object or entirely outside.
        rng: draws the slice, the kind of stroke and its course.
        thickness: of the brush, in voxels.
    """
    piece = draw_slice(region, rng)
    stroke = (centre_line, random_curve, contour_arc)[rng.integers(3)]
    pixels = stroke(piece.mask, rng)
    drawn = np.zeros(piece.mask.shape, bool)
    for down in range(thickness):
        for right in range(thickness):
            moved = pixels + np.array([down, right])
            moved = moved[(moved < drawn.shape).all(axis=1)]
            drawn[tuple(moved.T)] = True
    return piece.interaction("scribble", bool(target[piece.voxel(pixels[0])]), drawn & piece.mask, (0, 0))


def centre_line(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A line from one end of `mask` to the other, as far from its rim as possible; pixels (k, 2) inside."""
    inside = np.argwhere(mask)
    anywhere = inside[rng.integers(len(inside))]
    one_end = inside[np.argmax(((inside - anywhere) ** 2).sum(axis=1))]
    other_end = inside[np.argmax(((inside - one_end) ** 2).sum(axis=1))]
    path = _route(mask, 1 / np.maximum(depth(mask), 1e-3) ** 2, one_end, other_end)
    skipped = rng.uniform(0, 0.25, size=2) * len(path)
    return path[int(skipped[0]) : len(path) - int(skipped[1])]


def random_curve(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A wavering line through three random pixels of `mask`; pixels (k, 2) inside."""
    inside = np.argwhere(mask)
    stops = inside[rng.integers(len(inside), size=3)]
    # The cheapest way over a smooth random landscape wavers as a hand does.
    sigma = max(1.0, np.sqrt(len(inside)) / 8)
    landscape = cv2.GaussianBlur(rng.random(mask.shape), (0, 0), sigma)
    landscape = np.exp(3 * (landscape - landscape.mean()) / max(landscape.std(), 1e-6))
    legs = [_route(mask, landscape, start, end) for start, end in pairwise(stops)]
    return np.concatenate(legs)


def contour_arc(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A part of a contour line of `mask`, drawn somewhat inside its rim; pixels (k, 2) inside."""
    inner = depth(mask)
    inner = inner > rng.uniform(0, 0.5) * inner.max()
    contours, _ = cv2.findContours(inner.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=len)[:, 0, ::-1]  # OpenCV counts (x, y)
    length = max(1, int(rng.uniform(0.3, 0.9) * len(contour)))
    return np.roll(contour, int(rng.integers(len(contour))), axis=0)[:length]


def _route(mask: np.ndarray, cost: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The cheapest 8-connected path inside `mask`: pixels (k, 2). Both ends must lie in one piece of `mask`."""
    path, _ = route_through_array(np.where(mask, cost, np.inf), tuple(start), tuple(end), geometric=True)
    return np.asarray(path)
