"""A case as the page's viewer takes it: the image as NIfTI, supervoxels as runs of voxels that the page paints."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np

from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel
from nnunetv2_supervoxel.pages.entries import CaseToShow
from nnunetv2_supervoxel.pages.pictures import PALETTE
from nnunetv2_supervoxel.pages.thumbnails import cut

MOST_VOXELS = 1 << 21  # of larger images every 2nd, 3rd, ... voxel is shown
COLOURS = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in PALETTE]


def viewer_content(case: CaseToShow) -> dict[str, Any]:
    """Everything about a case that the viewer shows, JSON-serialisable.

    Returns:
        "image": base64 of a .nii.gz (uint8, in the case's geometry but for the origin); "runs": base64 of gzipped
        uint32 (first voxel, one past the last) of all supervoxels' runs in the image, x fastest; "supervoxels": what is
        known of each, with the number of its runs; "step": (z, y, x), every how manieth voxel is there.

    Raises:
        UserError: files are missing or damaged.
    """
    levels, supervoxels, orientation = case.read()
    step = coarser(levels.shape, orientation.spacing)
    small = np.ascontiguousarray(levels[tuple(slice(None, None, every) for every in step)])
    affine = orientation.affine
    affine[:3, :3] *= step[::-1]
    runs = [_runs(one, step, small.shape) for one in supervoxels.supervoxels]
    voxel_volume = float(np.prod(orientation.spacing))
    return {
        "image": _base64(_as_nifti(small, affine)),
        "runs": _base64(gzip.compress(np.concatenate([*runs, np.zeros((0, 2))]).astype("<u4").tobytes(), mtime=0)),
        "step": step,
        "supervoxels": [
            {
                "runs": len(of_one),
                "axis": one.axis,
                "keyframe": one.keyframe,
                "voxels": one.voxels,
                "volume": one.voxels * voxel_volume,
                "predicted_iou": one.predicted_iou,
                "consistency": one.consistency,
                "centre": (orientation.affine @ [*_middle(one)[::-1], 1])[:3].tolist(),
            }
            for one, of_one in zip(supervoxels.supervoxels, runs, strict=True)
        ],
    }


def coarser(shape: Sequence[int], spacing: Sequence[float], most: int = MOST_VOXELS) -> tuple[int, ...]:
    """Every how manieth voxel (z, y, x) to take so that at most `most` remain, along the finest axes first."""
    step = np.ones(3, int)
    while np.prod(-(-np.array(shape) // step)) > most:
        step[np.argmin(step * spacing)] += 1
    return tuple(step.tolist())


def _runs(one: Supervoxel, step: Sequence[int], shape: tuple[int, ...]) -> np.ndarray:
    """First voxel and one past the last of every run, (k, 2), in a volume of which every `step`th voxel is taken."""
    first = [-start % every for start, every in zip(one.origin, step, strict=True)]
    inside = one.mask[tuple(slice(begin, None, every) for begin, every in zip(first, step, strict=True))]
    begin = [(start + skip) // every for start, skip, every in zip(one.origin, first, step, strict=True)]
    voxels = np.ravel_multi_index(tuple(np.argwhere(inside).T + np.array(begin)[:, None]), shape)
    if not voxels.size:
        return np.zeros((0, 2), np.int64)
    breaks = np.flatnonzero(np.diff(voxels) > 1)
    return np.stack([voxels[np.r_[0, breaks + 1]], voxels[np.r_[breaks, voxels.size - 1]] + 1], axis=1)


def _middle(one: Supervoxel) -> np.ndarray:
    """The supervoxel's voxel (z, y, x) on its keyframe that is nearest to the middle of what is there."""
    box = np.array(one.bounding_box)
    if not box[one.axis, 0] <= one.keyframe < box[one.axis, 1]:
        return box.sum(axis=1) // 2
    here = np.argwhere(cut(one, one.axis, one.keyframe))
    if not len(here):
        return box.sum(axis=1) // 2
    nearest = here[np.argmin(((here - here.mean(axis=0)) ** 2).sum(axis=1))]
    return np.insert(nearest, one.axis, one.keyframe - box[one.axis, 0]) + box[:, 0]


def _as_nifti(levels: np.ndarray, affine: np.ndarray) -> bytes:
    image = nib.Nifti1Image(levels.transpose(), affine)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), mtime=0)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
