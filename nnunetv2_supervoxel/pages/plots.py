"""Plots as SVG, which pages hold as addresses with content."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from nnunetv2_supervoxel.pages.pictures import data_uri

_SIZE = (3.6, 2.2)  # inches
_BINS = 24
_STEPS = (1, 2, 5, 10)  # between ticks, times a power of ten
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, and in the reader's font
    "svg.hashsalt": "nnunetv2-supervoxel",  # the same values give the same file
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,  # 0.033, not 1e-9 + 0.033
}


def histogram(values: Sequence[float], title: str, of: str, logarithmic: bool = False) -> str:
    """How values are distributed, with a line at their median.

    Args:
        values: at least one; integers, shares from 0 to 1, or anything above 0 with `logarithmic`.
        title: what is shown, with its unit.
        of: what is counted.
        logarithmic: the bins grow.
    """

    def plot(axes: Axes) -> None:
        array = np.asarray(values)
        bins = _bins(array, logarithmic)
        axes.hist(array, bins, color="#4c72b0")
        axes.axvline(float(np.median(array)), color="#c44e52", linewidth=1)
        axes.set(xlabel=title, ylabel=of, xlim=(bins[0], bins[-1]))
        axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=_STEPS))
        if logarithmic:
            _scale_by_powers(axes, math.log10(bins[-1] / bins[0]))
        else:
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=_whole(array), steps=_STEPS))

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
    """Edges of bins; those of integers hold the same number of them each. Alike values get bins around them, too."""
    low, high = float(values.min()), float(values.max())
    if logarithmic:
        return np.logspace(*_widened(math.log10(low) - 0.02, math.log10(high) + 0.02, 1), _BINS + 1).tolist()
    if _whole(values):
        low, high = _widened(low, high, 8, lowest=0)
        step = max(1, math.ceil((high - low + 1) / _BINS))
        return np.arange(math.floor(low) - 0.5, high + step + 0.5, step).tolist()
    return np.linspace(*_widened(low, high, 0.05, lowest=0, highest=1), _BINS + 1).tolist()


def _widened(
    low: float, high: float, least: float, lowest: float = -math.inf, highest: float = math.inf
) -> tuple[float, float]:
    """A range with its ends at least `least` apart; what is added stays between `lowest` and `highest`."""
    middle = min(max((low + high) / 2, lowest + least / 2), highest - least / 2)
    return min(low, middle - least / 2), max(high, middle + least / 2)


def _whole(values: np.ndarray) -> bool:
    return np.issubdtype(values.dtype, np.integer)


def _scale_by_powers(axes: Axes, decades: float) -> None:
    """Ticks 1, 3, 10, 30, ...; only powers of ten where the former would be crowded. In plain figures."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if decades < 2 else (1,), numticks=5))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _as_svg(plot: Callable[[Axes], None]) -> str:
    with matplotlib.style.context(["default", _STYLE]):  # nnU-Net sets a style with large letters
        figure = Figure(_SIZE, layout="constrained")
        plot(figure.subplots())
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return data_uri(text.getvalue().encode(), "image/svg+xml")
