"""Keyframe slices: where SAM looks for objects."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.generation.methods.base import Image
from nnunetv2_supervoxel.masks.foreground import brighter_part

_NEARLY_CUBES = 1.3  # so much longer than the shortest side of a voxel may the longest be
_SAMPLES = 64  # along each axis, to find the foreground
_LEAST_FOREGROUND = 0.01  # of a slice that belongs to it

Candidates = tuple[int, list[int]]
"""Of one keyframe: the axis, and the slices to try, in their order."""


def keyframe_candidates(image: Image, config: GenerationConfig, rng: np.random.Generator) -> list[Candidates]:
    """For each keyframe its axis and the slices to try; no slice twice.

    Args:
        image: the case.
        config: its axes, and how many keyframes, or how far apart they are.
        rng: draws slices.
    """
    axes = slicing_axes(config.axis, image.shape, image.spacing)
    keyframes = max(config.keyframes, len(axes))
    if config.keyframe_spacing_mm is None:
        return _drawn(image.shape, axes, keyframes, config.max_keyframes, rng)
    least = -(-keyframes // len(axes))
    return [
        (axis, [middle, *rng.permutation(others).tolist()][: config.max_keyframes])
        for axis in axes
        for middle, others in _spaced(image, axis, least, config.keyframe_spacing_mm)
    ]


def slicing_axes(axis: str | tuple[int, ...], shape: Sequence[int], spacing: Sequence[float]) -> tuple[int, ...]:
    """The axes along which a volume is sliced.

    Args:
        axis: as in the config. "auto" takes all three where voxels are nearly cubes, else the one across the thickest
            slices. Of a volume with a single slice it is the one across that, whatever the config says: others give
            lines.
        shape: (z, y, x) in voxels.
        spacing: (z, y, x) in mm.
    """
    if min(shape) == 1:
        return (int(np.argmin(shape)),)
    if not isinstance(axis, str):
        return axis
    if max(spacing) < _NEARLY_CUBES * min(spacing):
        return (0, 1, 2)
    return (int(np.argmax(spacing)),)


def keyframe_probabilities(slices: int) -> np.ndarray:
    """Probability (slices,) of each slice: proportional to exp(-2 u^2), u from -1 to 1 along the axis."""
    weights = np.exp(-2 * np.linspace(-1, 1, slices) ** 2) if slices > 1 else np.ones(slices)
    return weights / weights.sum()


def draw_keyframes(slices: int, count: int, rng: np.random.Generator) -> list[int]:
    """Up to `count` different slices out of `slices`, in the order in which they are to be tried."""
    return rng.choice(slices, min(count, slices), replace=False, p=keyframe_probabilities(slices)).tolist()


def foreground_range(image: Image, axis: int) -> tuple[int, int]:
    """The first slice with foreground along an axis, and one past the last. It is found on some of the voxels."""
    steps = [max(1, size // _SAMPLES) for size in image.shape]
    steps[axis] = 1
    others = tuple(slice(None, None, step) for number, step in enumerate(steps) if number != axis)
    grey = [image.windowed_slice(axis, i)[(slice(None), *others)].mean(0) for i in range(image.shape[axis])]
    share = brighter_part(np.stack(grey)).mean((1, 2))
    found = np.flatnonzero(share >= _LEAST_FOREGROUND)
    return (int(found[0]), int(found[-1]) + 1) if found.size else (0, image.shape[axis])


def _drawn(
    shape: Sequence[int], axes: tuple[int, ...], keyframes: int, tries: int, rng: np.random.Generator
) -> list[Candidates]:
    """Slices drawn at random, those in the middle more often; the axes take turns."""
    turns = [axes[i % len(axes)] for i in range(keyframes)]
    drawn = {axis: draw_keyframes(shape[axis], turns.count(axis) * tries, rng) for axis in axes}
    return [(axis, drawn[axis][i // len(axes) :: turns.count(axis)]) for i, axis in enumerate(turns)]


def _spaced(image: Image, axis: int, least: int, spacing_mm: float) -> list[tuple[int, list[int]]]:
    """The foreground in pieces as thick as the spacing or thinner: the slice in the middle of each, and its others."""
    first, end = foreground_range(image, axis)
    wanted = max(least, int(np.ceil((end - first) * image.spacing[axis] / spacing_mm)))
    edges = np.linspace(first, end, min(wanted, end - first) + 1).round().astype(int).tolist()
    pieces = [list(range(start, stop)) for start, stop in pairwise(edges)]
    return [(piece.pop(len(piece) // 2), piece) for piece in pieces]
