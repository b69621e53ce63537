"""Radiologists' view, whatever the order and direction of the axes on disk."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from nnunetv2_supervoxel.pages.orientation import ANTERIOR, RIGHT, SUPERIOR, Orientation

SHAPE = (6, 10, 15)  # superior, posterior, left: z, y, x of an axial scan as ITK reads it
LANDMARKS = {"superior": (5, 4, 7), "anterior": (3, 0, 7), "right": (3, 4, 0)}  # in that scan


def scan() -> np.ndarray:
    volume = np.zeros(SHAPE, np.uint8)
    for value, voxel in enumerate(LANDMARKS.values(), 1):
        volume[voxel] = value
    return volume


def stored(flips: tuple[bool, bool, bool], transpose: tuple[int, int, int]) -> tuple[np.ndarray, dict]:
    """The scan as a file with flipped axes (z, y, x) would hold it, after nnU-Net's transpose; its properties."""
    signs = [-1.0 if flip else 1.0 for flip in flips]
    properties = {"sitk_stuff": {"direction": tuple(np.diag(signs[::-1]).ravel())}}
    return scan()[tuple(slice(None, None, int(sign)) for sign in signs)].transpose(transpose), properties


def where(picture: np.ndarray, landmark: str) -> tuple[int, int]:
    rows, columns = np.nonzero(picture == list(LANDMARKS).index(landmark) + 1)
    return int(rows[0]), int(columns[0])


@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True), (False, True, True)])
@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_planes_are_seen_as_radiologists_see_them(flips: tuple, transpose: tuple) -> None:
    volume, properties = stored(flips, transpose)
    orientation = Orientation.of_case(properties, transpose, [(2.5, 0.7, 0.9)[axis] for axis in transpose])
    planes = {}
    for name, world, landmark in (
        ("axial", SUPERIOR, "right"),
        ("coronal", ANTERIOR, "right"),
        ("sagittal", RIGHT, "anterior"),
    ):
        axis = orientation.axis_along(world)
        index = int(np.argwhere(volume == list(LANDMARKS).index(landmark) + 1)[0][axis])
        planes[name] = orientation.seen(np.take(volume, index, axis), axis)
        planes[name, "mm"] = orientation.pixel_size(axis)
    assert planes["axial"].shape == (10, 15)
    assert where(planes["axial"], "right") == (4, 0)  # the patient's right is on the left, the front at the top
    assert where(planes["axial"], "anterior") == (0, 7)
    assert planes["coronal"].shape == (6, 15)
    assert where(planes["coronal"], "right") == (2, 0)  # superior at the top
    assert where(planes["coronal"], "superior") == (0, 7)
    assert planes["sagittal"].shape == (6, 10)
    assert where(planes["sagittal"], "anterior") == (2, 0)
    assert where(planes["sagittal"], "superior") == (0, 4)
    assert planes["axial", "mm"] == (0.7, 0.9)
    assert planes["coronal", "mm"] == (2.5, 0.9)
    assert planes["sagittal", "mm"] == (2.5, 0.7)


def test_the_affine_is_nibabel_s() -> None:
    """An ITK direction that turns by 30 degrees about z, as a NIfTI file of it has."""
    cosine, sine = np.cos(np.pi / 6), np.sin(np.pi / 6)
    turned = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    orientation = Orientation.of_case({"sitk_stuff": {"direction": tuple(turned.ravel())}}, (0, 1, 2), (2.5, 0.7, 0.9))
    expected = np.diag([-1, -1, 1]) @ turned * (0.9, 0.7, 2.5)
    np.testing.assert_allclose(orientation.affine[:3, :3], expected)
    assert nib.aff2axcodes(orientation.affine) == ("L", "P", "S")


def test_nibabel_s_affines_are_taken_as_they_are() -> None:
    affine = np.diag([0.9, 0.7, 2.5, 1.0])  # RAS
    orientation = Orientation.of_case({"nibabel_stuff": {"original_affine": affine}}, (0, 1, 2), (2.5, 0.7, 0.9))
    np.testing.assert_allclose(orientation.affine, affine)


@pytest.mark.parametrize("properties", [{}, {"sitk_stuff": {"direction": (0.0,) * 9}}])
def test_what_does_not_say_how_it_lies_is_an_axial_scan(properties: dict) -> None:
    orientation = Orientation.of_case(properties, (0, 1, 2), (2.5, 0.7, 0.9))
    assert nib.aff2axcodes(orientation.affine) == ("L", "P", "S")
