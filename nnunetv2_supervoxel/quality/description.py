"""What can be said of a case's supervoxels without labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnunetv2_supervoxel.masks.overlaps import overlapping_pairs
from nnunetv2_supervoxel.masks.packed_masks import slab_ranges
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet

DUPLICATE_IOU = 0.9
_PERCENTILES = (0.5, 99.5)
_EXACT_UP_TO = 1 << 24  # voxels; of larger images, percentiles are taken over every k-th voxel


@dataclass(frozen=True)
class Description:
    """Supervoxels of one case in numbers.

    Attributes:
        voxels: of each supervoxel.
        slices: how many slices each one spans, along its own axis.
        coverage: share of the foreground's voxels that lie in a supervoxel; NaN if there is no foreground.
        overlap: in how many supervoxels a covered voxel lies, in the mean; 1 if none overlap, NaN if none is covered.
        duplicates: how many supervoxels are nearly a copy of an earlier one (3D IoU of 0.9 or more).
    """

    voxels: tuple[int, ...]
    slices: tuple[int, ...]
    coverage: float
    overlap: float
    duplicates: int


def describe(supervoxels: SupervoxelSet, foreground: np.ndarray) -> Description:
    """Describe the supervoxels of one case.

    Args:
        supervoxels: of the case.
        foreground: boolean (z, y, x), what they could cover.
    """
    covered = np.zeros(supervoxels.shape, bool)
    for one in supervoxels.supervoxels:
        covered[one.slices] |= one.mask
    duplicates = {second for _, second, _ in overlapping_pairs(supervoxels.supervoxels, DUPLICATE_IOU)}
    return Description(
        voxels=tuple(one.voxels for one in supervoxels.supervoxels),
        slices=tuple(one.shape[one.axis] for one in supervoxels.supervoxels),
        coverage=_ratio(np.count_nonzero(covered & foreground), np.count_nonzero(foreground)),
        overlap=_ratio(supervoxels.voxels, np.count_nonzero(covered)),
        duplicates=len(duplicates),
    )


def grey_levels(image: np.ndarray) -> np.ndarray:
    """An image in 256 levels from its 0.5 to its 99.5 percentile, so that a few very bright voxels don't decide.

    The foreground is found in it (`masks.foreground`): voxels above Otsu's threshold, with holes filled. In CT that is
    the body, with the lungs where they don't reach the volume's border.

    Args:
        image: real numbers (z, y, x). NaN counts as the darkest.

    Returns:
        uint8 (z, y, x).
    """
    levels = np.zeros(image.shape, np.uint8)
    sample = image.reshape(-1)[:: max(1, image.size // _EXACT_UP_TO)]
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return levels
    low, high = np.percentile(sample, _PERCENTILES)
    if low == high:  # a small object in an empty volume
        low, high = sample.min(), sample.max()
    for start, stop in slab_ranges(image.shape):  # floats take four or eight times the memory
        slab = np.nan_to_num(image[start:stop], nan=low, posinf=high, neginf=low)
        levels[start:stop] = np.rint(255 * np.clip((slab - low) / max(high - low, 1e-12), 0, 1))
    return levels


def _ratio(part: int | np.integer, whole: int | np.integer) -> float:
    return int(part) / int(whole) if whole else float("nan")
