"""Augmentation of slices: another contrast, another orientation, another crop."""

from __future__ import annotations

import numpy as np


def augment_contrast(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change gamma, sign, range and noise of a uint8 image. The result is float32 in [0, 1]."""
    image = (image / 255) ** np.exp(rng.uniform(-0.5, 0.5))
    if rng.random() < 0.35:
        image = 1 - image
    if rng.random() < 0.5:
        contrast = rng.uniform(0.6, 1)
        image = contrast * image + rng.uniform(0, 1 - contrast)
    if rng.random() < 0.5:
        image = image + rng.normal(0, rng.uniform(0, 0.04), image.shape)
    return np.clip(image, 0, 1).astype(np.float32)


def turn_and_crop(arrays: tuple[np.ndarray, ...], rng: np.random.Generator, smallest: float) -> tuple[np.ndarray, ...]:
    """Turn, flip and crop the last two axes, in the same way for all arrays.

    Args:
        arrays: their last two axes have the same sizes.
        rng: draws quarter turns, the flip and the crop.
        smallest: share of the height that a crop keeps at least.
    """
    turns, flip = rng.integers(4), rng.random() < 0.5
    arrays = tuple(np.rot90(array, turns, (-2, -1)) for array in arrays)
    if flip:
        arrays = tuple(np.flip(array, -1) for array in arrays)
    if rng.random() < 0.5:
        height, width = arrays[0].shape[-2:]
        share = rng.uniform(smallest, 1)
        h, w = int(height * share), int(width * min(1, share * rng.uniform(0.85, 1.15)))
        y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
        arrays = tuple(array[..., y : y + h, x : x + w] for array in arrays)
    return tuple(np.ascontiguousarray(array) for array in arrays)
