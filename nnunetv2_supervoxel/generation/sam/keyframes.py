"""Keyframe slices: where SAM looks for objects."""

from __future__ import annotations

import numpy as np


def keyframe_probabilities(slices: int) -> np.ndarray:
    """Probability (slices,) of each slice: proportional to exp(-2 u^2), u from -1 to 1 along the axis."""
    weights = np.exp(-2 * np.linspace(-1, 1, slices) ** 2) if slices > 1 else np.ones(slices)
    return weights / weights.sum()


def draw_keyframes(slices: int, count: int, rng: np.random.Generator) -> list[int]:
    """Up to `count` different slices out of `slices`, in the order in which they are to be tried."""
    return rng.choice(slices, min(count, slices), replace=False, p=keyframe_probabilities(slices)).tolist()
