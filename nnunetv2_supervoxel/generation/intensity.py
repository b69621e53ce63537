"""From intensities to what SAM and SAM 2 expect to see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_supervoxel.files.volumes import Normalisation

_AIR = -1024  # HU; nothing that a CT scanner sees is lower
_EXACT_UP_TO = 1 << 24  # voxels; of larger volumes, percentiles are taken over every k-th voxel


@dataclass(frozen=True, eq=False)
class IntensityWindow:
    """Linear map per colour: `low` becomes 0, `high` becomes 1, values outside are clipped.

    Attributes:
        low: (colours,), of the floating point type in which images are windowed: float32, or a larger one where the
            image's own values need it.
        high: (colours,), above `low` unless the channel is constant.
    """

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of_percentiles(cls, volume: np.ndarray, percentiles: Sequence[tuple[float, float]]) -> IntensityWindow:
        """The percentile window of a volume (c, z, y, x), over its finite voxels, without padding.

        Where both percentiles are equal (a small object in an empty volume), minimum and maximum take their place.

        Args:
            volume: (c, z, y, x).
            percentiles: one pair, for every channel; with one channel up to three pairs, a colour for each.
        """
        kind = _exact_type(volume)
        limits = [pair for channel in volume for pair in _limits(channel, percentiles, kind)]
        return cls(*np.array(limits, kind).T)

    @classmethod
    def of_units(
        cls, volume: np.ndarray, windows: Sequence[tuple[float, float]], normalised: Sequence[Normalisation]
    ) -> IntensityWindow:
        """Windows in the image's own units, such as HU.

        Args:
            volume: (c, z, y, x).
            windows: center and width of one, for every channel; with one channel of up to three, a colour for each.
            normalised: how each channel was normalised.
        """
        limits = [
            [(end - mean) / deviation for end in (center - width / 2, center + width / 2)]
            for mean, deviation in normalised
            for center, width in windows
        ]
        if volume.min() == volume.max():
            limits = [[volume.min()] * 2] * len(limits)
        return cls(*np.array(limits, _exact_type(volume)).T)

    @property
    def is_constant(self) -> bool:
        """Whether every channel is constant."""
        return bool(np.all(self.high <= self.low))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Window an image (c, h, w): float32 (3, h, w) in [0, 1].

        One colour becomes grey; of two, the third colour stays 0. NaN becomes 0.
        """
        low, high = (limit[:, None, None] / 2 for limit in (self.low, self.high))  # half of it is sure to be finite
        with np.errstate(invalid="ignore"):
            windowed = (image.astype(low.dtype) / 2 - low) / np.where(high > low, high - low, 1)
        windowed = np.clip(np.nan_to_num(windowed, nan=0.0, posinf=1.0, neginf=0.0), 0, 1).astype(
            np.float32, copy=False
        )
        if len(windowed) == 1:
            return np.broadcast_to(windowed, (3, *windowed.shape[1:]))
        return np.concatenate([windowed, np.zeros((3 - len(windowed), *windowed.shape[1:]), np.float32)])


def to_uint8_rgb(windowed: np.ndarray) -> np.ndarray:
    """A windowed image (3, h, w) as SAM takes it: uint8 (h, w, 3)."""
    return np.ascontiguousarray(np.moveaxis(np.rint(windowed * 255).astype(np.uint8), 0, -1))


def count_not_finite(volume: np.ndarray) -> int:
    """How many voxels of a volume (c, z, y, x) are NaN or infinite."""
    if not np.issubdtype(volume.dtype, np.floating):
        return 0
    slices = (image for channel in volume for image in channel)  # one by one, to save memory
    return sum(int(np.count_nonzero(~np.isfinite(image))) for image in slices)


def _exact_type(volume: np.ndarray) -> np.dtype:
    """The smallest of NumPy's floating point types, from float32 on, that holds a volume's values as they are.

    Of integers beyond 2**53, long double holds all on most machines, and otherwise as much as there can be.
    """
    if np.issubdtype(volume.dtype, np.floating) or np.can_cast(volume.dtype, np.float32):
        return np.result_type(volume.dtype, np.float32)
    largest = max(abs(int(volume.min())), abs(int(volume.max())))
    types = (np.float32, np.float64, np.longdouble)
    return np.dtype(next((kind for kind in types if largest <= 2 ** (np.finfo(kind).nmant + 1)), np.longdouble))


def _limits(
    channel: np.ndarray, percentiles: Sequence[tuple[float, float]], kind: np.dtype
) -> list[tuple[float, float]]:
    """Low and high of a channel (z, y, x), for each pair of percentiles; `kind` is the volume's `_exact_type`."""
    step = max(1, channel.size // _EXACT_UP_TO)
    while math.gcd(step, channel.shape[-1]) > 1:  # else the same columns are read in every row
        step += 1
    values = channel.reshape(-1)[::step]
    if np.issubdtype(values.dtype, np.floating):
        values = values[np.isfinite(values)]
    elif values.dtype == bool or kind == np.longdouble:  # other integers NumPy makes float64 of
        values = values.astype(kind)
    if not values.size:
        return [(0.0, 0.0)] * len(percentiles)
    values = _without_padding(values, channel)
    limits = [tuple(np.percentile(values, pair)) for pair in percentiles]
    return [(low, high) if high > low else (values.min(), values.max()) for low, high in limits]


def _without_padding(values: np.ndarray, channel: np.ndarray) -> np.ndarray:
    """The values of a channel without those of padding, such as -2000 or -3024 outside a CT scanner's circle.

    Padding is the lowest value, darker than air, and fills most of the volume's corners. The empty background of other
    images stays: it is what their objects stand out from.
    """
    lowest = values.min()
    corners = channel[tuple(slice(None, None, max(1, size - 1)) for size in channel.shape)]
    is_padded = lowest < _AIR and 2 * np.count_nonzero(corners == lowest) >= corners.size
    return values[values > lowest] if is_padded and values.max() > lowest else values
