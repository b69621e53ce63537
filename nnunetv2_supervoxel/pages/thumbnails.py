"""A case in one small picture: three planes through a keyframe, supervoxels outlined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel, SupervoxelSet
from nnunetv2_supervoxel.pages.orientation import ANTERIOR, RIGHT, SUPERIOR, Orientation
from nnunetv2_supervoxel.pages.pictures import Colour, as_webp, colour, draw, fit, side_by_side

SIDE = 140  # pixels of a plane's longer side


def thumbnail(levels: np.ndarray, supervoxels: SupervoxelSet, orientation: Orientation) -> bytes:
    """An axial, a coronal and a sagittal plane side by side, as WebP.

    Args:
        levels: the image, uint8 (z, y, x).
        supervoxels: of the case; there may be none.
        orientation: how the case lies.
    """
    voxel, pictures = place(supervoxels), []
    for axis in map(orientation.axis_along, (SUPERIOR, ANTERIOR, RIGHT)):
        plane = orientation.seen(np.take(levels, voxel[axis], axis), axis)
        size = fit(plane.shape, orientation.pixel_size(axis), SIDE)
        outlines = ((orientation.seen(mask, axis), line) for mask, line in _cut_all(supervoxels, axis, voxel[axis]))
        pictures.append(draw(plane, outlines, size))
    return as_webp(side_by_side(pictures))


def place(supervoxels: SupervoxelSet) -> tuple[int, int, int]:
    """The voxel (z, y, x) through which to look: on the keyframe with most supervoxels, in the middle of these.

    Without any, the middle of the volume.
    """
    found = [one for one in supervoxels.supervoxels if one.voxels]
    if not found:
        z, y, x = (size // 2 for size in supervoxels.shape)
        return z, y, x
    (axis, keyframe), _ = Counter((one.axis, one.keyframe) for one in found).most_common(1)[0]
    here = [one for one in found if (one.axis, one.keyframe) == (axis, keyframe)]
    centres = np.array([one.bounding_box for one in here]).mean(axis=2)
    voxel = np.average(centres, axis=0, weights=[one.voxels for one in here])
    voxel[axis] = keyframe
    z, y, x = (int(np.clip(index, 0, size - 1)) for index, size in zip(voxel, supervoxels.shape, strict=True))
    return z, y, x


def cut(supervoxel: Supervoxel, axis: int, index: int) -> np.ndarray:
    """Where a plane of the volume cuts a supervoxel: boolean, the plane of its crop; the plane must meet the crop."""
    inside = index - supervoxel.origin[axis]
    if axis == 0:
        return supervoxel.packed.rows(inside, inside + 1)[0]
    return np.take(supervoxel.mask, inside, axis)


def _cut_all(supervoxels: SupervoxelSet, axis: int, index: int) -> Iterator[tuple[np.ndarray, Colour]]:
    """The supervoxels that a plane cuts: boolean masks of the plane, and their colours."""
    rows, columns = (size for other, size in enumerate(supervoxels.shape) if other != axis)
    for number, one in enumerate(supervoxels.supervoxels):
        if one.slices[axis].start <= index < one.slices[axis].stop:
            mask = np.zeros((rows, columns), bool)
            mask[tuple(side for other, side in enumerate(one.slices) if other != axis)] = cut(one, axis, index)
            yield mask, colour(number)
