"""Plots as SVG, which pages hold as addresses with content."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nnunetv2_supervoxel.pages.pictures import data_uri

_SIZE = (3.6, 2.2)  # inches
_BINS = 24
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, and in the reader's font
    "svg.hashsalt": "nnunetv2-supervoxel",  # the same values give the same file
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def histogram(values: Sequence[float], title: str, of: str, logarithmic: bool = False) -> str:
    """How values are distributed, with a line at their median.

    Args:
        values: finite ones, at least one.
        title: what is shown, with its unit.
        of: what is counted.
        logarithmic: the bins grow; values have to be above 0.
    """

    def plot(axes: Axes) -> None:
        array = np.asarray(values, float)
        axes.hist(array, _bins(array, logarithmic), color="#4c72b0")
        axes.axvline(float(np.median(array)), color="#c44e52", linewidth=1)
        axes.set(xlabel=title, ylabel=of, xscale="log" if logarithmic else "linear")

    return _as_svg(plot)


def curves(lines: Mapping[str, Sequence[float]], xlabel: str, ylabel: str) -> str:
    """Lines over 1, 2, 3, ...; from 0 to 1."""

    def plot(axes: Axes) -> None:
        for label, values in lines.items():
            axes.plot(range(1, len(values) + 1), values, marker="o", markersize=3, label=label)
        axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, 1), xticks=range(1, max(map(len, lines.values())) + 1))
        axes.legend(fontsize=7)

    return _as_svg(plot)


def _bins(values: np.ndarray, logarithmic: bool) -> list[float]:
    """Edges of bins; those of whole numbers hold the same number of them each."""
    low, high = values.min(), values.max()
    if logarithmic:
        return np.geomspace(low / 1.05, high * 1.05, _BINS + 1).tolist()
    if np.array_equal(values, np.rint(values)):
        step = max(1, int(np.ceil((high - low + 1) / _BINS)))
        return np.arange(low - 0.5, high + step + 0.5, step).tolist()
    return np.linspace(low - 1e-9, high + 1e-9, _BINS + 1).tolist()


def _as_svg(plot: Callable[[Axes], None]) -> str:
    with matplotlib.style.context(["default", _STYLE]):  # nnU-Net sets a style with large letters
        figure = Figure(_SIZE, layout="constrained")
        plot(figure.subplots())
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return data_uri(text.getvalue().encode(), "image/svg+xml")
