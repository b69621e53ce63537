"""A phantom, and the three kinds there are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nnunetv2_supervoxel.phantoms.body import paint_body
from nnunetv2_supervoxel.phantoms.contrast import any_levels, render, scan_levels, t1_levels
from nnunetv2_supervoxel.phantoms.painting import paint_folds, paint_regions


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
    _check(shape)
    canvas = paint_regions(shape, rng)
    levels = any_levels(canvas.parents, rng)
    return Phantom(render(canvas.labels, levels, rng), canvas.labels, tuple(canvas.parents))


def make_folded_phantom(shape: tuple[int, int, int], rng: np.random.Generator) -> Phantom:
    """Draw a phantom like a brain: lobes, each a folded rind around a core that holds cavities; at times a skull.

    Half of them have the contrast of a T1-weighted scan: bright core, grey rind and nuclei, dark cavities.

    Args:
        shape: (z, y, x) in voxels, each at least 8.
        rng: decides everything.
    """
    _check(shape)
    canvas = paint_folds(shape, rng)
    levels = t1_levels(canvas.tissues, rng) if rng.random() < 0.5 else any_levels(canvas.parents, rng)
    return Phantom(render(canvas.labels, levels, rng, blur=1.3), canvas.labels, tuple(canvas.parents))


def make_body_phantom(shape: tuple[int, int, int], rng: np.random.Generator) -> Phantom:
    """Draw a phantom like a body: bones with marrow, lumpy and hollow organs, lesions, branching vessels, thin sheets.

    Three quarters of them have the contrast of a CT or of a T1- or T2-weighted scan. Slices are one to four times as
    thick as pixels are wide; each shows the mean of what it cuts through, and its labels are those of its middle.

    Args:
        shape: (z, y, x) in voxels, each at least 8.
        rng: decides everything.
    """
    _check(shape)
    thickness = int(rng.choice([1, 1, 2, 3, 4]))
    canvas = paint_body((shape[0] * thickness, *shape[1:]), rng)
    if rng.random() < 0.75:
        levels = scan_levels(canvas.parents, canvas.tissues, rng)
    else:
        levels = any_levels(canvas.parents, rng)
    fine = render(canvas.labels, levels, rng, blur=1.1, bias=0.2)
    image = fine.reshape(shape[0], thickness, *shape[1:]).mean(axis=1)
    return Phantom(image, np.ascontiguousarray(canvas.labels[thickness // 2 :: thickness]), tuple(canvas.parents))


def _check(shape: tuple[int, ...]) -> None:
    if len(shape) != 3 or min(shape) < 8:
        raise ValueError(f"shape must be three sizes of at least 8 voxels, not {shape}")
