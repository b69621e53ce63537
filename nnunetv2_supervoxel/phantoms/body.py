"""Painting a body: bones with marrow, organs that begin and end, hollow ones, branching vessels, thin sheets."""

from __future__ import annotations

import numpy as np

from nnunetv2_supervoxel.phantoms.painting import Canvas
from nnunetv2_supervoxel.phantoms.shapes import box_around, ellipsoid, ellipsoid_depth, smooth_noise, warped_grid

_ORGANS = ("organ", "organ", "organ", "fluid", "fat", "air")
_SMALLEST_RADII = (2.0, 3.5, 3.5)  # voxels


def paint_body(shape: tuple[int, int, int], rng: np.random.Generator) -> Canvas:
    """A body of fat and muscle, and what is in it."""
    grid, size = warped_grid(shape, rng), np.array(shape, float)
    canvas = Canvas(np.zeros(shape, np.int16))
    center = size * rng.uniform(0.45, 0.55, 3)
    radii = size * rng.uniform([0.5, 0.38, 0.38], [2, 0.5, 0.5])
    depth = ellipsoid_depth(grid, center, radii)
    inside = canvas.paint(depth > 0, 0, "fat")
    inside = canvas.paint(depth > rng.uniform(0.04, 0.2), inside, "muscle") or inside
    if rng.random() < 0.6:
        _paint_spine(canvas, grid, inside, rng)
    for _ in range(rng.integers(4, 11)):
        _paint_organ(canvas, grid, inside, rng)
    for _ in range(rng.integers(1, 4)):
        place = center + radii.clip(max=size / 2) * rng.uniform(-0.6, 0.6, 3)
        mask = branches(grid, place, size, rng)
        canvas.paint(mask, rng.choice([0, *range(1, len(canvas.parents) + 1)]) or inside, "vessel")
        canvas.paint(mask, inside, "vessel")
    for _ in range(rng.integers(0, 3)):
        mask = sheet(grid, center + radii.clip(max=size / 2) * rng.uniform(-0.7, 0.7, 3), size, rng)
        canvas.paint(mask, inside, rng.choice(["bone", "fat", "fluid", "organ"]))
    return canvas


def _paint_spine(canvas: Canvas, grid: np.ndarray, parent: int, rng: np.random.Generator) -> None:
    """Vertebrae one above the other, each with marrow, and the canal behind them."""
    size = np.array(canvas.labels.shape, float)
    y, x = size[1] * rng.uniform(0.6, 0.8), size[2] * rng.uniform(0.4, 0.6)
    height, width = size[0] * rng.uniform(0.1, 0.35), size[1:].min() * rng.uniform(0.07, 0.13)
    middle = rng.uniform(0, height)
    while middle < size[0]:
        center, radii = np.array([middle, y, x]), np.array([height * 0.45, width * 0.8, width])
        mask, box = ellipsoid(grid, center, radii, rng, tilt=0.1)
        bone = canvas.paint(mask, parent, "bone", box)
        if bone and rng.random() < 0.7:
            mask, box = ellipsoid(grid, center, np.maximum(radii * 0.7, (1.5, 2.5, 2.5)), rng, tilt=0.1)
            canvas.paint(mask, bone, "marrow", box)
        middle += height
    center, radii = np.array([size[0] / 2, y + width * 1.4, x]), np.array([size[0] * 2, width * 0.5, width * 0.6])
    mask, box = ellipsoid(grid, center, np.maximum(radii, 2.5), rng, tilt=0.0)
    canvas.paint(mask, parent, "fluid", box)


def _paint_organ(canvas: Canvas, grid: np.ndarray, parent: int, rng: np.random.Generator) -> None:
    """A lumpy organ, at times hollow, at times with a lesion; at times a pair, left and right."""
    size = np.array(canvas.labels.shape, float)
    scale = np.exp(rng.uniform(np.log(0.08), np.log(0.28)))
    radii = np.maximum(size * scale * rng.uniform(0.6, 1.7, 3), _SMALLEST_RADII)
    center, tissue = size * rng.uniform(0.15, 0.85, 3), rng.choice(_ORGANS)
    pair = [center, np.array([center[0], center[1], size[2] - center[2]])]
    for place in pair if rng.random() < 0.3 else pair[:1]:
        mask, box = lump(grid, place, radii, rng)
        organ = canvas.paint(mask, parent, tissue, box)
        chance = rng.random()
        if organ and chance < 0.3:  # a wall around a cavity
            share = rng.uniform(0.5, 0.85)
            mask, box = ellipsoid(grid, place, np.maximum(radii * share, (1.5, 2.5, 2.5)), rng)
            canvas.paint(mask, organ, rng.choice(["fluid", "air", "organ"]), box)
        elif organ and chance < 0.6:
            for _ in range(rng.integers(1, 4)):
                inner = np.maximum(radii * rng.uniform(0.15, 0.45, 3), (1.5, 2.5, 2.5))
                mask, box = lump(grid, place + radii * rng.uniform(-0.6, 0.6, 3), inner, rng)
                canvas.paint(mask, organ, rng.choice(["organ", "fluid", "bone"]), box)


def lump(
    grid: np.ndarray, center: np.ndarray, radii: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[slice, ...]]:
    """An ellipsoid with dents and bulges.

    Args:
        grid: bent coordinates (3, z, y, x) of a volume's voxels.
        center: (z, y, x) in voxels, as are the radii.
        radii: without the bulges.
        rng: decides everything.

    Returns:
        Boolean mask, and the box of the volume that it fills.
    """
    box = box_around(grid.shape[1:], center, radii * 1.6 + 8)
    part = grid[(slice(None), *box)]
    if not part.size:
        return np.zeros(part.shape[1:], bool), box
    bulges = rng.uniform(0.05, 0.3) * smooth_noise(part.shape[1:], rng, cells=int(rng.integers(3, 6)))
    return ellipsoid_depth(part, center, radii) + bulges > 0, box


def branches(grid: np.ndarray, root: np.ndarray, size: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A vessel that winds, branches, gets thinner and ends: boolean (z, y, x).

    Args:
        grid: bent coordinates (3, z, y, x) of a volume's voxels.
        root: where it begins, (z, y, x) in voxels.
        size: of the volume (z, y, x).
        rng: decides everything.
    """
    mask = np.zeros(grid.shape[1:], bool)
    stretch = np.clip(size[0] / size[1:].mean(), 0.3, 2) * np.array([1, 0, 0]) + np.array([0, 1, 1])
    along = np.array([2.0 * rng.choice([-1, 1]), 0, 0])
    waiting = [(root, rng.standard_normal(3) + along, rng.uniform(2.5, 6.5))]
    for _ in range(7):
        if not waiting:
            break
        place, direction, radius = waiting.pop(0)
        for _ in range(rng.integers(8, 25)):
            direction = direction / np.linalg.norm(direction) + 0.25 * rng.standard_normal(3)
            place, radius = place + direction * stretch * max(1.5, radius * 0.6), radius * 0.985
            box = box_around(mask.shape, place, np.full(3, radius) + 7)
            away = sum(((grid[axis][box] - place[axis]) / stretch[axis]) ** 2 for axis in range(3))
            mask[box] |= away < radius**2
        if radius > 2:
            turn = rng.standard_normal(3)
            waiting += [(place, direction + sign * turn, radius * rng.uniform(0.6, 0.9)) for sign in (-1, 1)]
    return mask


def sheet(grid: np.ndarray, center: np.ndarray, size: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A thin bent plate, as wide as it is long: boolean (z, y, x); arguments as for `branches`."""
    normal = rng.standard_normal(3) * (0.4, 1, 1)
    normal /= np.linalg.norm(normal)
    offsets = [grid[axis] - center[axis] for axis in range(3)]
    bend = rng.uniform(0, 4) * smooth_noise(grid.shape[1:], rng, cells=4)
    distance = sum(n * offset for n, offset in zip(normal, offsets, strict=True)) + bend
    reach = size * rng.uniform(0.12, 0.35, 3)
    within = sum((offset / r) ** 2 for offset, r in zip(offsets, reach, strict=True)) < 1
    return (np.abs(distance) < rng.uniform(1.2, 3)) & within
