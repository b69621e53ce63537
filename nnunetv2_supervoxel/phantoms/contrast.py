"""How bright regions are, and the image that a scanner would make of them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from nnunetv2_supervoxel.phantoms.shapes import smooth_noise


def any_levels(parents: list[int], rng: np.random.Generator) -> list[float]:
    """Intensities of the background and of each region. A region differs from what surrounds it.

    Args:
        parents: per region the label of the region that it is nested in; 0 for none.
        rng: decides everything.
    """
    gap, levels = rng.uniform(0.13, 0.3), [rng.uniform(0, 0.25) if rng.random() < 0.7 else rng.uniform(0, 1)]
    for parent in parents:
        others = [levels[parent]] + [levels[i + 1] for i, p in enumerate(parents[: len(levels) - 1]) if p == parent]
        candidates = rng.uniform(0, 1, 12)
        distances = np.abs(candidates[:, None] - np.array(others)).min(axis=1)
        good = candidates[distances > gap]
        levels.append(good[0] if len(good) else candidates[distances.argmax()])
    return levels


def t1_levels(tissues: list[str], rng: np.random.Generator) -> list[float]:
    """Intensities of the background and of each region, by its tissue, as in a T1-weighted scan."""
    white = rng.uniform(0.8, 1)
    grey = white - rng.uniform(0.15, 0.35)
    fluid = grey * rng.uniform(0.2, 0.65)
    nuclei = grey + (white - grey) * rng.uniform(-0.2, 0.5)
    typical = {"skull": rng.uniform(0.1, 1), "fluid": fluid, "grey": grey, "white": white, "nucleus": nuclei}
    return [rng.uniform(0, 0.15)] + [typical[tissue] + rng.normal(0, 0.02) for tissue in tissues]


# Where the tissues of a body lie between black and white, as the least and the most.
_SCANS = {
    "CT": {
        "air": (0, 0.05), "fat": (0.25, 0.4), "muscle": (0.5, 0.58), "organ": (0.45, 0.72), "fluid": (0.4, 0.5),
        "vessel": (0.5, 0.95), "bone": (0.85, 1), "marrow": (0.6, 0.8),
    },
    "T1": {
        "air": (0, 0.1), "fat": (0.8, 1), "muscle": (0.35, 0.5), "organ": (0.3, 0.7), "fluid": (0.1, 0.3),
        "vessel": (0.05, 0.95), "bone": (0, 0.2), "marrow": (0.6, 0.85),
    },
    "T2": {
        "air": (0, 0.1), "fat": (0.55, 0.8), "muscle": (0.2, 0.35), "organ": (0.3, 0.65), "fluid": (0.85, 1),
        "vessel": (0.05, 0.9), "bone": (0, 0.2), "marrow": (0.45, 0.7),
    },
}  # fmt: skip


def scan_levels(parents: list[int], tissues: list[str], rng: np.random.Generator) -> list[float]:
    """Intensities of the background and of each region, as in a CT or a T1- or T2-weighted scan, drawn at random.

    Args:
        parents: per region the label of the region that it is nested in; 0 for none.
        tissues: per region air, fat, muscle, organ, fluid, vessel, bone or marrow.
        rng: decides everything.
    """
    typical = _SCANS[rng.choice(list(_SCANS))]
    levels = [rng.uniform(0, 0.05)]
    for parent, tissue in zip(parents, tissues, strict=True):
        others = [levels[parent]] + [levels[i + 1] for i, p in enumerate(parents[: len(levels) - 1]) if p == parent]
        low, high = typical[tissue]
        candidates = rng.uniform(low - 0.03, high + 0.03, 8)
        levels.append(candidates[np.abs(candidates[:, None] - np.array(others)).min(axis=1).argmax()])
        if abs(levels[-1] - levels[parent]) < 0.08:  # a region that can't be seen can't be learned
            levels[-1] = levels[parent] + rng.choice([-1, 1]) * rng.uniform(0.08, 0.16)
    return levels


def render(
    labels: np.ndarray, levels: list[float], rng: np.random.Generator, blur: float = 0.9, bias: float = 0.12
) -> np.ndarray:
    """An image of regions, with texture, bias field, blur and noise: float32 (z, y, x).

    Args:
        labels: integer (z, y, x), a region's number from 1, 0 is background.
        levels: intensities of the background and of each region.
        rng: decides everything.
        blur: in the slice plane, in voxels at most.
        bias: standard deviation of the bias field at most, as a share of the intensity.
    """
    image = np.array(levels, np.float32)[labels]

    texture = ndimage.gaussian_filter(rng.standard_normal(labels.shape).astype(np.float32), rng.uniform(0.5, 1.5))
    amplitudes = rng.uniform(0, 0.06, len(levels)) * (rng.random(len(levels)) < 0.6)
    image += (amplitudes.astype(np.float32) / texture.std())[labels] * texture
    image *= 1 + rng.uniform(0, bias) * smooth_noise(labels.shape, rng, cells=3)
    image = ndimage.gaussian_filter(image, (rng.uniform(0.2, 0.7), *[rng.uniform(0.4, blur)] * 2))
    image += rng.normal(0, rng.uniform(0.003, 0.03), labels.shape).astype(np.float32)
    return image.astype(np.float32)
