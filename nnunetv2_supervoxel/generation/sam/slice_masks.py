"""The masks of many objects on one slice: made from logits, measured, compared with those on the slice before."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

_PIXELS_AT_ONCE = 1 << 26  # a quarter of a gigabyte as float32, however many objects there are


def masks_of_logits(logits: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """Masks in the slice's size, from SAM 2's logits.

    Args:
        logits: (objects, 1, h/4, w/4), as decoded; above 0 lies inside.
        size: (height, width) of the slice in pixels.

    Returns:
        Boolean (objects, height, width).
    """

    def enlarged(some: torch.Tensor) -> np.ndarray:
        values = F.interpolate(some.float(), size=tuple(size), mode="bilinear", align_corners=False)[:, 0]
        return (values > 0).cpu().numpy()

    height, width = size
    return np.concatenate([enlarged(some) for some in logits.split(max(1, _PIXELS_AT_ONCE // (height * width)))])


def areas(masks: np.ndarray) -> np.ndarray:
    """Pixels (objects,) of boolean masks (objects, h, w)."""
    return np.array([np.count_nonzero(mask) for mask in masks])  # ten times as fast as along axes of the whole


def touching(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Whether an object's masks on two neighbouring slices are 26-adjacent.

    Args:
        before: boolean (objects, h, w), on the one slice.
        after: boolean (objects, h, w), on the other.

    Returns:
        Boolean (objects,).
    """
    found = (before & after).any(axis=(1, 2))
    for i in np.flatnonzero(~found):  # few: an object rarely leaves its place within one slice
        found[i] = (cv2.dilate(before[i].view(np.uint8), np.ones((3, 3), np.uint8)) & after[i]).any()
    return found
