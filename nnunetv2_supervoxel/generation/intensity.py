"""From intensities to what SAM and SAM 2 expect to see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_EXACT_UP_TO = 1 << 24  # voxels; of larger volumes, percentiles are taken over every k-th voxel


@dataclass(frozen=True, eq=False)
class IntensityWindow:
    """Linear map per channel: `low` becomes 0, `high` becomes 1, values outside are clipped.

    Attributes:
        low: (c,) float32.
        high: (c,) float32, above `low` unless the channel is constant.
    """

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, volume: np.ndarray, percentiles: tuple[float, float]) -> IntensityWindow:
        """The percentile window of a volume (c, z, y, x), over its finite voxels.

        Where both percentiles are equal (a small object in an empty volume), minimum and maximum take their place.
        """
        low, high = zip(*(_limits(channel, percentiles) for channel in volume), strict=True)
        return cls(np.array(low, np.float32), np.array(high, np.float32))

    @property
    def is_constant(self) -> bool:
        """Whether every channel is constant."""
        return bool(np.all(self.high <= self.low))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Window an image (c, h, w): float32 (3, h, w) in [0, 1].

        One channel becomes grey; of two, the third colour stays 0. NaN becomes 0.
        """
        low, high = (limit[:, None, None] for limit in (self.low, self.high))
        with np.errstate(invalid="ignore"):
            windowed = (image.astype(np.float32) - low) / np.where(high > low, high - low, 1)
        windowed = np.clip(np.nan_to_num(windowed, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)
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


def _limits(channel: np.ndarray, percentiles: tuple[float, float]) -> tuple[float, float]:
    values = channel.reshape(-1)[:: max(1, channel.size // _EXACT_UP_TO)]
    if np.issubdtype(values.dtype, np.floating):
        values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 0.0
    low, high = np.percentile(values, percentiles)
    return (low, high) if high > low else (values.min(), values.max())
