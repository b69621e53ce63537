"""Prompts from a file, in an image: their voxels, and what is drawn on a slice."""

from __future__ import annotations

import cv2
import numpy as np
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.prompt_file import LassoPrompt, Position, ScribblePrompt, Space


def voxel_indices(positions: list[Position], space: Space, image: sitk.Image) -> np.ndarray:
    """Positions (x, y, z) as voxel indices (z, y, x): an integer array (k, 3).

    Args:
        positions: in `space`.
        space: see `PromptFile`.
        image: 3D; it has the geometry.

    Raises:
        UserError: a position lies outside the image.
    """
    indices = []
    for position in positions:
        if space == "voxel":
            index = position
        else:
            sign = (-1, -1, 1) if space == "ras" else (1, 1, 1)
            physical = [float(s * p) for s, p in zip(sign, position, strict=True)]
            index = image.TransformPhysicalPointToContinuousIndex(physical)
        rounded = np.floor(np.asarray(index) + 0.5).astype(int)
        if (rounded < 0).any() or (rounded >= image.GetSize()).any():
            raise UserError(
                f"the position {list(position)} ({space}) lies outside the image, "
                f"whose size (x, y, z) is {list(image.GetSize())} voxels"
            )
        indices.append(rounded[::-1])
    return np.stack(indices)


def draw_on_slice(
    prompt: ScribblePrompt | LassoPrompt, indices: np.ndarray, shape: tuple[int, ...], thickness: int
) -> np.ndarray:
    """A scribble or lasso as an image of 0 and 1, uint8 (z, y, x), one slice thick.

    Args:
        prompt: the scribble or lasso.
        indices: voxel indices (z, y, x) of its points: integer (k, 3).
        shape: of the volume.
        thickness: of a scribble, in voxels.

    Raises:
        UserError: the points don't lie on one slice.
    """
    axis = common_axis(indices)
    in_plane = [other for other in range(3) if other != axis]
    plane = np.zeros([shape[other] for other in in_plane], np.uint8)
    points = indices[:, in_plane][:, ::-1].astype(np.int32)  # OpenCV counts (column, row)
    if prompt.type == "lasso":
        cv2.fillPoly(plane, [points], color=1)
    elif len(points) == 1:
        cv2.circle(plane, tuple(int(value) for value in points[0]), radius=thickness // 2, color=1, thickness=-1)
    else:
        cv2.polylines(plane, [points], isClosed=False, color=1, thickness=thickness)
    volume = np.zeros(shape, np.uint8)
    volume[tuple(indices[0, axis] if other == axis else slice(None) for other in range(3))] = plane
    return volume


def common_axis(indices: np.ndarray) -> int:
    """The first axis, of (z, y, x), along which all points (k, 3) lie on one slice.

    Raises:
        UserError: there is none.
    """
    flat = np.flatnonzero((indices == indices[0]).all(axis=0))
    if not len(flat):
        raise UserError("boxes, scribbles and lassos must lie on one slice (one coordinate the same for all points)")
    return int(flat[0])
