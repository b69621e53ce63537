"""Slices with outlines."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from nnunetv2_supervoxel.pages.pictures import as_webp, colour, data_uri, draw, fit, side_by_side

RED = (255, 0, 0)


def test_millimetres_are_alike_in_both_directions() -> None:
    assert fit((10, 40), (5.0, 0.5), 100) == (100, 40)
    assert fit((40, 40), (1.0, 2.0), 100) == (50, 100)
    assert fit((1, 400), (0.1, 1.0), 100) == (1, 100)


def test_outlines_run_around_the_mask_in_their_colour() -> None:
    mask = np.zeros((20, 30), bool)
    mask[5:11, 8:20] = True
    picture = draw(np.full((20, 30), 60, np.uint8), [(mask, RED)], (80, 120))
    drawn = (picture[..., 0] > 150) & (picture[..., 1] < 60)
    rows, columns = np.nonzero(drawn)
    # Pixel centres of the mask's border, four times as large: from 4 * 5 + 1.5 to 4 * 10 + 1.5, ...
    assert abs(rows.min() - 21.5) <= 1
    assert abs(rows.max() - 41.5) <= 1
    assert abs(columns.min() - 33.5) <= 1
    assert abs(columns.max() - 77.5) <= 1
    assert (picture[31, 55] == 60).all()  # the inside stays
    assert (picture[60, 100] == 60).all()


def test_holes_have_outlines_and_nothing_has_none() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:18, 2:18] = True
    mask[8:12, 8:12] = False
    picture = draw(np.zeros((20, 20), np.uint8), [(mask, RED), (np.zeros_like(mask), (0, 255, 0))], (80, 80))
    assert picture[30:50, 30:50, 0].max() > 150
    assert picture[..., 1].max() == 0


def test_pictures_stand_side_by_side_and_survive_webp() -> None:
    left, right = np.full((20, 10, 3), 200, np.uint8), np.full((10, 30, 3), 90, np.uint8)
    right[..., 0] = 250
    row = side_by_side([left, right], gap=4)
    assert row.shape == (20, 44, 3)
    assert (row[:, :10] == 200).all()
    assert (row[5:15, 14:, 0] == 250).all()
    assert (row[:5, 14:] == 0).all()
    read = cv2.imdecode(np.frombuffer(as_webp(row), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(read[10, 30].astype(int) - (250, 90, 90)).max() < 25  # red, green, blue


def test_an_address_holds_its_content() -> None:
    address = data_uri(b"abc", "image/webp")
    assert address.startswith("data:image/webp;base64,")
    assert base64.b64decode(address.split(",")[1]) == b"abc"


def test_neighbours_differ_in_colour() -> None:
    assert len({colour(index) for index in range(14)}) == 14
    assert colour(14) == colour(0)
