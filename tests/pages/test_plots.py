"""Plots in a page."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from nnunetv2_supervoxel.pages.plots import curves, histogram


def svg(address: str) -> str:
    kind, content = address.split(",")
    assert kind == "data:image/svg+xml;base64"
    text = base64.b64decode(content).decode()
    ElementTree.fromstring(text)
    return text


def bars(text: str) -> int:
    """Filled shapes in the bars' colour that have a height."""
    shapes = re.findall(r'<path d="([^"]+)"[^>]*style="fill: #4c72b0', text)
    heights = [np.ptp([float(y) for y in re.findall(r"[\d.]+ ([\d.]+)", shape)]) for shape in shapes]
    return sum(height > 0.1 for height in heights)


@pytest.mark.parametrize(
    ("values", "logarithmic", "expected"),
    [
        ([1, 2, 2, 4], False, 3),  # every whole number has its own bar
        ([5], False, 1),
        ([0], False, 1),
        ([0.25, 0.5, 0.75], False, 3),
        ([1.0, 1.0], False, 1),
        ([1.5, 150.0, 15000.0], True, 3),
        ([3.0], True, 1),
    ],
)
def test_bars(values: list, logarithmic: bool, expected: int) -> None:
    text = svg(histogram(values, "volume in mm³", "supervoxels", logarithmic))
    assert bars(text) == expected
    assert "volume in mm³" in text  # as text, not as outlines of letters


def ticks(text: str) -> tuple[list[str], list[str]]:
    """What stands at the horizontal axis, and at the vertical one; a title is the last of each."""
    labels = re.findall(r'<g id="(?:text|offset)_\d+">.*?>([^<>]+)</text>', text, re.DOTALL)
    start = labels.index("cases")
    titles = [number for number, label in enumerate(labels) if not re.fullmatch(r"[\d,.e+-]+", label)]
    return labels[: titles[0]], labels[titles[0] + 1 : start]


@pytest.mark.parametrize(
    ("values", "logarithmic", "expected"),
    [
        ([6], False, ["2", "4", "6", "8", "10"]),
        ([1], False, ["0", "2", "4", "6", "8"]),
        ([0.032779], False, ["0.01", "0.02", "0.03", "0.04", "0.05"]),
        ([1.0, 1.0], False, ["0.95", "0.96", "0.97", "0.98", "0.99", "1.00"]),  # not beyond what shares can be
        ([0.0], False, ["0.00", "0.01", "0.02", "0.03", "0.04", "0.05"]),
        ([1800, 5200, 9000, 15000, 31000, 44000], True, ["3,000", "10,000", "30,000"]),
        ([3000], True, ["1,000", "3,000"]),
        ([0.4, 3000, 2e6], True, ["1", "100", "10,000", "1,000,000"]),
    ],
)
def test_few_values_have_ticks_that_can_be_read(values: list, logarithmic: bool, expected: list) -> None:
    horizontal, vertical = ticks(svg(histogram(values, "what", "cases", logarithmic)))
    assert horizontal == expected
    assert all(re.fullmatch(r"\d+", label) for label in vertical)  # nothing is counted in halves


def test_many_whole_numbers_share_bars() -> None:
    assert 12 <= bars(svg(histogram(range(1000), "n", "cases"))) <= 25


def test_the_same_values_give_the_same_picture() -> None:
    assert histogram([1, 2, 3.5], "a", "b") == histogram([1, 2, 3.5], "a", "b")


def test_a_style_that_others_set_has_no_effect() -> None:
    usual = histogram([1, 2, 3.5], "a", "b")
    with matplotlib.rc_context({"font.size": 40, "lines.linewidth": 9}):
        assert histogram([1, 2, 3.5], "a", "b") == usual


def test_curves_are_named() -> None:
    text = svg(curves({"point (3)": [0.1, 0.5], "box (2)": [0.3, 0.4]}, "interactions", "Dice"))
    assert all(word in text for word in ("point (3)", "box (2)", "interactions", "Dice"))
