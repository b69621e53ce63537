"""The small picture of a case."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from nnunetv2_supervoxel import SupervoxelSet
from nnunetv2_supervoxel.pages.orientation import Orientation
from nnunetv2_supervoxel.pages.thumbnails import SIDE, cut, place, thumbnail

SHAPE = (12, 20, 31)
AXIAL_SCAN = Orientation.of_case({}, (0, 1, 2), (2.5, 0.7, 0.9))


def blocks(*boxes: tuple, axis: int = 0) -> SupervoxelSet:
    labels = np.zeros(SHAPE, int)
    for number, box in enumerate(boxes, 1):
        labels[tuple(slice(*side) for side in box)] = number
    whole = SupervoxelSet.of_labels(labels)
    keyframes = [one.bounding_box[axis][0] for one in whole.supervoxels]
    made = [replace(one, axis=axis, keyframe=k) for one, k in zip(whole.supervoxels, keyframes, strict=True)]
    return SupervoxelSet(SHAPE, tuple(made))


def decoded(picture: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR).astype(int)


def test_the_planes_go_through_the_keyframe_with_most_supervoxels() -> None:
    supervoxels = blocks(
        ((2, 5), (1, 4), (0, 9)), ((7, 9), (2, 6), (3, 9)), ((7, 12), (12, 16), (20, 26)), axis=0
    )  # two begin at slice 7
    z, y, x = place(supervoxels)
    assert z == 7
    weights = np.array([2 * 4 * 6, 5 * 4 * 6])
    assert y == int(np.average([4, 14], weights=weights))
    assert x == int(np.average([6, 23], weights=weights))


def test_without_supervoxels_they_go_through_the_middle() -> None:
    assert place(SupervoxelSet(SHAPE, ())) == (6, 10, 15)
    picture = decoded(thumbnail(np.full(SHAPE, 100, np.uint8), SupervoxelSet(SHAPE, ()), AXIAL_SCAN))
    assert np.ptp(picture, axis=2).max() < 20  # grey, no outline


def test_a_plane_of_a_supervoxel() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(SHAPE) < 0.5).astype(int)
    one = SupervoxelSet.of_labels(labels).supervoxels[0]
    for axis, index in ((0, 5), (1, 7), (2, 30)):
        np.testing.assert_array_equal(cut(one, axis, index), np.take(labels == 1, index, axis))


def test_outlines_are_on_all_three_planes() -> None:
    supervoxels = blocks(((3, 9), (5, 15), (8, 22)))
    picture = decoded(thumbnail(np.full(SHAPE, 100, np.uint8), supervoxels, AXIAL_SCAN))
    coloured = np.ptp(picture, axis=2) > 60
    widths = [SIDE, 130, 65]  # the volume has 30 mm by 14 mm by 27.9 mm
    start = 0
    for width in widths:
        assert coloured[:, start : start + width].sum() > 50
        start += width + 4
    assert picture.shape[1] == sum(widths) + 8
