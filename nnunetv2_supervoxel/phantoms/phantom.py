"""Procedural volumes with known objects: for training the tiny checkpoints, for tests, and for trying things out."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy import ndimage

_SMALLEST = 40  # voxels; what is left of a region must be larger, or it isn't painted


@dataclass(frozen=True, eq=False)
class Phantom:
    """A volume and the objects in it.

    Attributes:
        image: float32 (z, y, x), about 0 to 1.
        labels: int16 (z, y, x), the visible regions; 0 is background.
        parents: for region i + 1, the label of the region that it is nested in; 0 for none.
    """

    image: np.ndarray
    labels: np.ndarray
    parents: tuple[int, ...]

    @cached_property
    def objects(self) -> list[np.ndarray]:
        """Every true object as a boolean (z, y, x) mask: each visible region, and each region with all nested in it."""
        objects = []
        for label in range(1, len(self.parents) + 1):
            objects.append(self.labels == label)
            family = self.family(label)
            if len(family) > 1:
                objects.append(np.isin(self.labels, family))
        return objects

    def family(self, label: int) -> list[int]:
        """The label and those of all regions nested in it."""
        members = [label]
        for child, parent in enumerate(self.parents, start=1):  # parents come before their children
            if parent in members:
                members.append(child)
        return members


def make_phantom(shape: tuple[int, int, int], rng: np.random.Generator) -> Phantom:
    """Draw a phantom: a body with organs that touch and nest, tubes, texture, bias, blur and noise.

    Args:
        shape: (z, y, x) in voxels, each at least 8; slices along z may be thicker than wide.
        rng: decides everything.
    """
    if len(shape) != 3 or min(shape) < 8:
        raise ValueError(f"shape must be three sizes of at least 8 voxels, not {shape}")
    canvas = _paint_regions(shape, rng)
    levels = _any_levels(canvas.parents, rng)
    return Phantom(_render(canvas.labels, levels, rng), canvas.labels, tuple(canvas.parents))


def make_folded_phantom(shape: tuple[int, int, int], rng: np.random.Generator) -> Phantom:
    """Draw a phantom like a brain: lobes, each a folded rind around a core that holds cavities; at times a skull.

    Half of them have the contrast of a T1-weighted scan: bright core, grey rind and nuclei, dark cavities.

    Args:
        shape: (z, y, x) in voxels, each at least 8.
        rng: decides everything.
    """
    if len(shape) != 3 or min(shape) < 8:
        raise ValueError(f"shape must be three sizes of at least 8 voxels, not {shape}")
    canvas = _paint_folds(shape, rng)
    levels = _t1_levels(canvas.tissues, rng) if rng.random() < 0.5 else _any_levels(canvas.parents, rng)
    return Phantom(_render(canvas.labels, levels, rng, blur=1.3), canvas.labels, tuple(canvas.parents))


@dataclass(frozen=True, eq=False)
class _Canvas:
    """Regions painted so far: their labels, and per region its parent and its tissue, if that matters."""

    labels: np.ndarray
    parents: list[int] = field(default_factory=list)
    tissues: list[str] = field(default_factory=list)

    def paint(
        self, mask: np.ndarray, parent: int, tissue: str = "", box: tuple[slice, ...] = (slice(None),) * 3
    ) -> int:
        """A new region where `mask`, given for `box`, lies in the parent: its label, or 0 if too small."""
        mask = mask & (self.labels[box] == parent)
        if np.count_nonzero(mask) <= _SMALLEST:
            return 0
        self.parents.append(parent)
        self.tissues.append(tissue)
        self.labels[box][mask] = len(self.parents)
        return len(self.parents)


def _paint_folds(shape: tuple[int, int, int], rng: np.random.Generator) -> _Canvas:
    size, grid = np.array(shape, float), _warped_grid(shape, rng)
    canvas = _Canvas(np.zeros(shape, np.int16))
    center = size * rng.uniform(0.45, 0.55, 3)
    radii = size * rng.uniform([0.42, 0.38, 0.34], [0.6, 0.48, 0.46])
    inside = 0
    if rng.random() < 0.35:  # a skull, and a gap between it and what it holds
        depth = _depth(grid, center, radii)
        skull = canvas.paint(depth > 0, 0, "skull")
        thickness = rng.uniform(0.05, 0.15)
        inside = canvas.paint(depth > thickness, skull, "fluid")
        radii = radii * (1 - thickness - rng.uniform(0, 0.06))
    lobes = [(center, radii)] + [
        (center + radii * (rng.uniform(-0.9, -0.3), away, side), radii * rng.uniform(0.3, 0.6, 3))
        for away, sides in ((rng.uniform(-0.6, -0.2), (-0.55, 0.55)), (rng.uniform(0.4, 0.8), (0.0,)))
        for side in sides
        if rng.random() < 0.6
    ]
    for place, extent in lobes:
        _paint_lobe(canvas, grid, place, extent, inside, rng)
    return canvas


def _paint_lobe(
    canvas: _Canvas,
    grid: np.ndarray,
    center: np.ndarray,
    radii: np.ndarray,
    parent: int,
    rng: np.random.Generator,
) -> None:
    """A folded rind, its core, and what lies in the core: pairs, and single structures in the middle plane."""
    depth, shape = _depth(grid, center, radii), canvas.labels.shape
    folds = np.abs(_smooth_noise(shape, rng, cells=rng.integers(7, 14)))  # zeros are winding sheets: furrows
    open_furrows = (folds < rng.uniform(0, 0.2)) & (depth < rng.uniform(0, 0.35))
    rind = canvas.paint((depth > 0) & ~open_furrows, parent, "grey")
    if not rind:
        return
    core = depth > rng.uniform(0.08, 0.2) + rng.uniform(0.1, 0.35) * np.clip(1 - folds / rng.uniform(0.4, 0.9), 0, 1)
    if rng.random() < 0.5:  # two halves
        across, along = ((grid[axis] - center[axis]) / radii[axis] for axis in (2, 1))
        core &= (np.abs(across) > rng.uniform(0.02, 0.06)) | (along > rng.uniform(-0.4, 0.3))
    core_label = canvas.paint(core, rind, "white")
    if not core_label:
        return
    for _ in range(rng.integers(2, 7)):
        away, extent = rng.uniform([-0.4, -0.5, 0.06], [0.4, 0.5, 0.45]), radii * rng.uniform(0.08, 0.3, 3)
        tissue = "nucleus" if rng.random() < 0.6 else "fluid"
        for side in (-1, 1) if rng.random() < 0.8 else (0,):
            place = center + away * radii * (1, 1, side)
            mask, box = _ellipsoid(grid, place, np.maximum(extent, (2, 3, 3)), rng)
            canvas.paint(mask, core_label, tissue, box)


def _depth(grid: np.ndarray, center: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """0 on the surface of an ellipsoid, 1 in its middle, negative outside."""
    return 1 - np.sqrt(sum(((grid[axis] - center[axis]) / radii[axis]) ** 2 for axis in range(3)))


def _paint_regions(shape: tuple[int, int, int], rng: np.random.Generator) -> _Canvas:
    grid = _warped_grid(shape, rng)
    size = np.array(shape, float)
    canvas = _Canvas(np.zeros(shape, np.int16))
    body = 0
    if rng.random() < 0.7:
        radii = size * rng.uniform([0.42, 0.32, 0.32], [0.8, 0.47, 0.47])
        mask, box = _ellipsoid(grid, size / 2, radii, rng, tilt=0.1)
        body = canvas.paint(mask, 0, box=box)
    for _ in range(rng.integers(4, 11)):
        center = size * rng.uniform(0.2, 0.8, 3)
        scale = np.exp(rng.uniform(np.log(0.06), np.log(0.26)))
        radii = np.maximum(size * scale * rng.uniform(0.6, 1.6, 3), (2, 4, 4))
        make = _tube if rng.random() < 0.15 else _ellipsoid
        mask, box = make(grid, center, radii, rng)
        parent, outer = canvas.paint(mask, body, box=box), (center, radii)
        while parent and rng.random() < 0.45 and make is _ellipsoid:
            center, radii = outer
            inner = np.maximum(radii * rng.uniform(0.35, 0.65, 3), (1.5, 2.5, 2.5))
            outer = center + radii * rng.uniform(-0.25, 0.25, 3), inner
            mask, box = _ellipsoid(grid, *outer, rng)
            parent = canvas.paint(mask, parent, box=box)
    return canvas


def _warped_grid(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Voxel coordinates (3, z, y, x) bent by a smooth displacement, so that no outline is a plain ellipse."""
    grid = np.stack(np.meshgrid(*(np.arange(s, dtype=np.float32) for s in shape), indexing="ij"))
    strength = rng.uniform(0.3, 1.0)
    for axis, extent in enumerate(shape):
        amplitude = strength * min(0.04 * extent, 5)
        grid[axis] += amplitude * _smooth_noise(shape, rng, cells=rng.integers(3, 6))
    return grid


def _smooth_noise(shape: tuple[int, ...], rng: np.random.Generator, cells: int) -> np.ndarray:
    """Standard normal values on a coarse lattice, interpolated."""
    lattice = rng.standard_normal((cells,) * len(shape)).astype(np.float32)
    zoomed = ndimage.zoom(lattice, [s / cells for s in shape], order=1, grid_mode=True, mode="nearest")
    return zoomed[tuple(slice(s) for s in shape)]


def _ellipsoid(
    grid: np.ndarray, center: np.ndarray, radii: np.ndarray, rng: np.random.Generator, tilt: float = 1.0
) -> tuple[np.ndarray, tuple[slice, ...]]:
    """A superellipsoid, turned in the slice plane and slightly sheared along z: mask, and the box that it lies in."""
    angle, shear = tilt * rng.uniform(0, np.pi), tilt * rng.uniform(-0.5, 0.5, 2)
    reach = np.array([radii[0], *[radii[1:].max() * 1.2] * 2]) + np.array([0, *(np.abs(shear) * radii[0])]) + 8
    box = _box(grid.shape[1:], center, reach)
    z, y, x = (grid[i][box] - center[i] for i in range(3))
    y, x = y - shear[0] * z, x - shear[1] * z
    y, x = np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x
    power = rng.uniform(1.7, 3.5)
    return sum(np.abs(u / r) ** power for u, r in zip((z, y, x), radii, strict=True)) < 1, box


def _tube(
    grid: np.ndarray, center: np.ndarray, radii: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[slice, ...]]:
    """A vessel that winds along z, gets thinner and ends."""
    length, radius = radii[0] * 2, float(np.clip(radii[1:].min() * 0.6, 3.5, 12))
    swing = rng.uniform(2, 10, 2)
    box = _box(grid.shape[1:], center, np.array([length, *(swing + radius)]) + 8)
    z, y, x = (grid[i][box] - center[i] for i in range(3))
    phase, turns = rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.3, 1.2, 2)
    y = y - swing[0] * np.sin(turns[0] * np.pi * z / length + phase[0])
    x = x - swing[1] * np.sin(turns[1] * np.pi * z / length + phase[1])
    width = radius * np.clip(1 - np.abs(z / length) ** 3, 0, None)
    return y**2 + x**2 < width**2, box


def _box(shape: tuple[int, ...], center: np.ndarray, reach: np.ndarray) -> tuple[slice, ...]:
    low = np.clip(np.floor(center - reach), 0, shape).astype(int)
    high = np.clip(np.ceil(center + reach) + 1, 0, shape).astype(int)
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True))


def _any_levels(parents: list[int], rng: np.random.Generator) -> list[float]:
    """Intensities of the background and of each region, which differs from what surrounds it."""
    gap, levels = rng.uniform(0.13, 0.3), [rng.uniform(0, 0.25) if rng.random() < 0.7 else rng.uniform(0, 1)]
    for parent in parents:
        others = [levels[parent]] + [levels[i + 1] for i, p in enumerate(parents[: len(levels) - 1]) if p == parent]
        candidates = rng.uniform(0, 1, 12)
        distances = np.abs(candidates[:, None] - np.array(others)).min(axis=1)
        good = candidates[distances > gap]
        levels.append(good[0] if len(good) else candidates[distances.argmax()])
    return levels


def _t1_levels(tissues: list[str], rng: np.random.Generator) -> list[float]:
    """Intensities of the background and of each region by its tissue."""
    white = rng.uniform(0.8, 1)
    grey = white - rng.uniform(0.15, 0.35)
    fluid = grey * rng.uniform(0.2, 0.65)
    nuclei = grey + (white - grey) * rng.uniform(-0.2, 0.5)
    typical = {"skull": rng.uniform(0.1, 1), "fluid": fluid, "grey": grey, "white": white, "nucleus": nuclei}
    return [rng.uniform(0, 0.15)] + [typical[tissue] + rng.normal(0, 0.02) for tissue in tissues]


def _render(labels: np.ndarray, levels: list[float], rng: np.random.Generator, blur: float = 0.9) -> np.ndarray:
    """Intensities of the regions with texture, bias field, noise, and `blur` in the slice plane, in voxels at most."""
    image = np.array(levels, np.float32)[labels]

    texture = ndimage.gaussian_filter(rng.standard_normal(labels.shape).astype(np.float32), rng.uniform(0.5, 1.5))
    amplitudes = rng.uniform(0, 0.06, len(levels)) * (rng.random(len(levels)) < 0.6)
    image += (amplitudes.astype(np.float32) / texture.std())[labels] * texture
    image *= 1 + rng.uniform(0, 0.12) * _smooth_noise(labels.shape, rng, cells=3)
    image = ndimage.gaussian_filter(image, (rng.uniform(0.2, 0.7), *[rng.uniform(0.4, blur)] * 2))
    image += rng.normal(0, rng.uniform(0.003, 0.03), labels.shape).astype(np.float32)
    return image.astype(np.float32)
