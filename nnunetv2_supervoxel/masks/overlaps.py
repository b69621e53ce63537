"""Which supervoxels of a case overlap, and how much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel


def overlapping_pairs(supervoxels: Sequence[Supervoxel], least_iou: float) -> Iterator[tuple[int, int, float]]:
    """The pairs of supervoxels with at least a given intersection over union (IoU), in the order of their indices.

    Sizes and bounding boxes rule most pairs out: the intersection is no larger than either supervoxel and than the
    intersection of their boxes. Masks are compared for the remaining pairs alone. Two masks are unpacked at a time.

    Args:
        supervoxels: of one case.
        least_iou: above 0, up to 1. Pairs that share no voxel are never found.

    Yields:
        Index of the first, index of the second (a larger one), their IoU.
    """
    boxes = np.array([supervoxel.bounding_box for supervoxel in supervoxels]).reshape(-1, 3, 2)
    voxels = np.array([supervoxel.voxels for supervoxel in supervoxels], np.int64)
    for i, first in enumerate(supervoxels):
        highest = _highest_iou(boxes[i], voxels[i], boxes[i + 1 :], voxels[i + 1 :])
        candidates = i + 1 + np.flatnonzero(highest >= least_iou)
        if not candidates.size:
            continue
        mask = first.mask
        for j in candidates.tolist():
            shared = _shared_voxels(mask, first, supervoxels[j])
            iou = shared / int(voxels[i] + voxels[j] - shared)
            if shared and iou >= least_iou:
                yield i, j, iou


def _highest_iou(box: np.ndarray, count: np.int64, boxes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """What the IoU (k,) of one supervoxel with others can't exceed, from boxes ((k,) 3, 2) and numbers of voxels."""
    sides = np.minimum(box[:, 1], boxes[..., 1]) - np.maximum(box[:, 0], boxes[..., 0])
    shared = np.minimum(np.minimum(count, counts), sides.clip(0).prod(axis=1))
    return shared / np.maximum(count + counts - shared, 1)


def _shared_voxels(mask: np.ndarray, first: Supervoxel, second: Supervoxel) -> int:
    """Number of voxels that are in both; `mask` is the first one's."""
    box = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(first.slices, second.slices, strict=True)]
    mine, (rows, *rest) = _moved(box, first), _moved(box, second)
    return int(np.count_nonzero(mask[tuple(mine)] & second.packed.rows(rows.start, rows.stop)[(slice(None), *rest)]))


def _moved(box: Sequence[slice], supervoxel: Supervoxel) -> list[slice]:
    """A box in the volume as a box in the supervoxel's crop."""
    return [slice(side.start - start, side.stop - start) for side, start in zip(box, supervoxel.origin, strict=True)]
