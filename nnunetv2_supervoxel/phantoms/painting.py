"""Painting regions: organs in a body, or the folded lobes of a brain."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nnunetv2_supervoxel.phantoms.shapes import ellipsoid, ellipsoid_depth, smooth_noise, tube, warped_grid

_SMALLEST = 40  # voxels; what is left of a region must be larger, or it isn't painted


@dataclass(frozen=True, eq=False)
class Canvas:
    """Regions painted so far.

    Attributes:
        labels: int16 (z, y, x), a region's number from 1; 0 is background.
        parents: per region the label of the region that it is nested in; 0 for none.
        tissues: per region what it is made of; empty where that doesn't matter.
    """

    labels: np.ndarray
    parents: list[int] = field(default_factory=list)
    tissues: list[str] = field(default_factory=list)

    def paint(
        self, mask: np.ndarray, parent: int, tissue: str = "", box: tuple[slice, ...] = (slice(None),) * 3
    ) -> int:
        """Paint a new region where a mask lies in its parent.

        Args:
            mask: boolean, of the box's shape.
            parent: label of the region to paint in; 0 is background.
            tissue: what the region is made of.
            box: where the mask lies in the volume.

        Returns:
            The region's label, or 0 if it is too small and wasn't painted.
        """
        mask = mask & (self.labels[box] == parent)
        if np.count_nonzero(mask) <= _SMALLEST:
            return 0
        self.parents.append(parent)
        self.tissues.append(tissue)
        self.labels[box][mask] = len(self.parents)
        return len(self.parents)


def paint_regions(shape: tuple[int, int, int], rng: np.random.Generator) -> Canvas:
    """Organs that touch and nest, and tubes; most of them in a body."""
    grid = warped_grid(shape, rng)
    size = np.array(shape, float)
    canvas = Canvas(np.zeros(shape, np.int16))
    body = 0
    if rng.random() < 0.7:
        radii = size * rng.uniform([0.42, 0.32, 0.32], [0.8, 0.47, 0.47])
        mask, box = ellipsoid(grid, size / 2, radii, rng, tilt=0.1)
        body = canvas.paint(mask, 0, box=box)
    for _ in range(rng.integers(4, 11)):
        center = size * rng.uniform(0.2, 0.8, 3)
        scale = np.exp(rng.uniform(np.log(0.06), np.log(0.26)))
        radii = np.maximum(size * scale * rng.uniform(0.6, 1.6, 3), (2, 4, 4))
        make = tube if rng.random() < 0.15 else ellipsoid
        mask, box = make(grid, center, radii, rng)
        parent, outer = canvas.paint(mask, body, box=box), (center, radii)
        while parent and rng.random() < 0.45 and make is ellipsoid:
            center, radii = outer
            inner = np.maximum(radii * rng.uniform(0.35, 0.65, 3), (1.5, 2.5, 2.5))
            outer = center + radii * rng.uniform(-0.25, 0.25, 3), inner
            mask, box = ellipsoid(grid, *outer, rng)
            parent = canvas.paint(mask, parent, box=box)
    return canvas


def paint_folds(shape: tuple[int, int, int], rng: np.random.Generator) -> Canvas:
    """The lobes of a brain, at times in a skull."""
    size, grid = np.array(shape, float), warped_grid(shape, rng)
    canvas = Canvas(np.zeros(shape, np.int16))
    center = size * rng.uniform(0.45, 0.55, 3)
    radii = size * rng.uniform([0.42, 0.38, 0.34], [0.6, 0.48, 0.46])
    inside = 0
    if rng.random() < 0.35:  # a skull, and a gap between it and what it holds
        depth = ellipsoid_depth(grid, center, radii)
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
    canvas: Canvas,
    grid: np.ndarray,
    center: np.ndarray,
    radii: np.ndarray,
    parent: int,
    rng: np.random.Generator,
) -> None:
    """A folded rind, its core, and what lies in the core: pairs, and single structures in the middle plane."""
    depth, shape = ellipsoid_depth(grid, center, radii), canvas.labels.shape
    folds = np.abs(smooth_noise(shape, rng, cells=int(rng.integers(7, 14))))  # zeros are winding sheets: furrows
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
            mask, box = ellipsoid(grid, place, np.maximum(extent, (2, 3, 3)), rng)
            canvas.paint(mask, core_label, tissue, box)
