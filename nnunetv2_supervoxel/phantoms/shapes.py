"""Outlines in a bent space: ellipsoids, tubes, and smooth noise that bends and folds.

Everywhere `grid` holds the coordinates (3, z, y, x) of a volume's voxels, bent, and `center` and `radii` are (z, y, x)
in voxels.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def warped_grid(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Voxel coordinates (3, z, y, x) bent by a smooth displacement, so that no outline is a plain ellipse."""
    grid = np.stack(np.meshgrid(*(np.arange(s, dtype=np.float32) for s in shape), indexing="ij"))
    strength = rng.uniform(0.3, 1.0)
    for axis, extent in enumerate(shape):
        amplitude = strength * min(0.04 * extent, 5)
        grid[axis] += amplitude * smooth_noise(shape, rng, cells=int(rng.integers(3, 6)))
    return grid


def smooth_noise(shape: tuple[int, ...], rng: np.random.Generator, cells: int) -> np.ndarray:
    """Standard normal values on a lattice of `cells` points along each axis, interpolated to `shape`."""
    lattice = rng.standard_normal((cells,) * len(shape)).astype(np.float32)
    zoomed = ndimage.zoom(lattice, [s / cells for s in shape], order=1, grid_mode=True, mode="nearest")
    return zoomed[tuple(slice(s) for s in shape)]


def ellipsoid_depth(grid: np.ndarray, center: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """0 on the surface of an ellipsoid, 1 in its middle, negative outside."""
    return 1 - np.sqrt(sum(((grid[axis] - center[axis]) / radii[axis]) ** 2 for axis in range(3)))


def ellipsoid(
    grid: np.ndarray, center: np.ndarray, radii: np.ndarray, rng: np.random.Generator, tilt: float = 1.0
) -> tuple[np.ndarray, tuple[slice, ...]]:
    """A superellipsoid, turned in the slice plane and slightly sheared along z.

    Returns:
        Boolean mask, and the box of the volume that it fills.
    """
    angle, shear = tilt * rng.uniform(0, np.pi), tilt * rng.uniform(-0.5, 0.5, 2)
    reach = np.array([radii[0], *[radii[1:].max() * 1.2] * 2]) + np.array([0, *(np.abs(shear) * radii[0])]) + 8
    box = box_around(grid.shape[1:], center, reach)
    z, y, x = (grid[i][box] - center[i] for i in range(3))
    y, x = y - shear[0] * z, x - shear[1] * z
    y, x = np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x
    power = rng.uniform(1.7, 3.5)
    return sum(np.abs(u / r) ** power for u, r in zip((z, y, x), radii, strict=True)) < 1, box


def tube(
    grid: np.ndarray, center: np.ndarray, radii: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[slice, ...]]:
    """A vessel that winds along z, gets thinner and ends.

    Returns:
        Boolean mask, and the box of the volume that it fills.
    """
    length, radius = radii[0] * 2, float(np.clip(radii[1:].min() * 0.6, 3.5, 12))
    swing = rng.uniform(2, 10, 2)
    box = box_around(grid.shape[1:], center, np.array([length, *(swing + radius)]) + 8)
    z, y, x = (grid[i][box] - center[i] for i in range(3))
    phase, turns = rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.3, 1.2, 2)
    y = y - swing[0] * np.sin(turns[0] * np.pi * z / length + phase[0])
    x = x - swing[1] * np.sin(turns[1] * np.pi * z / length + phase[1])
    width = radius * np.clip(1 - np.abs(z / length) ** 3, 0, None)
    return y**2 + x**2 < width**2, box


def box_around(shape: tuple[int, ...], center: np.ndarray, reach: np.ndarray) -> tuple[slice, ...]:
    """The part of a volume within `reach` of `center`, in voxels along each axis."""
    low = np.clip(np.floor(center - reach), 0, shape).astype(int)
    high = np.clip(np.ceil(center + reach) + 1, 0, shape).astype(int)
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True))
