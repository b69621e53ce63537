"""One prompt: what the user drew, and whether it means "this too" or "this not"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnunetv2_supervoxel.config import InteractionKind


@dataclass(frozen=True, eq=False)
class Interaction:
    """A prompt as it enters its channel.

    Attributes:
        kind: "point", "box", "scribble" or "lasso".
        positive: True if the marked voxels belong to the object, False if they don't.
        origin: voxel index (z, y, x) of `stamp[0, 0, 0]`. It can be negative: the part outside the volume is cut off.
        stamp: float32 (z, y, x), values 0 to 1.
    """

    kind: InteractionKind
    positive: bool
    origin: tuple[int, int, int]
    stamp: np.ndarray

    @property
    def centre(self) -> tuple[int, int, int]:
        """The voxel (z, y, x) in the middle of the stamp; of a point, the point itself."""
        z, y, x = (start + size // 2 for start, size in zip(self.origin, self.stamp.shape, strict=True))
        return z, y, x
