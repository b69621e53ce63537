"""How a preprocessed case lies in the patient, so that pictures of it show what radiologists are used to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import nibabel as nib
import numpy as np

# Of NIfTI's world, which is right, anterior, superior.
RIGHT, ANTERIOR, SUPERIOR = range(3)
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Orientation:
    """Where the axes of a volume (z, y, x) point to.

    Attributes:
        directions: (3, 3); column i is the direction of array axis i in right, anterior, superior, of length 1.
        spacing: voxel size (z, y, x) in mm.
    """

    directions: np.ndarray
    spacing: tuple[float, ...]

    @classmethod
    def of_case(cls, properties: Mapping[str, Any], transpose: Sequence[int], spacing: Sequence[float]) -> Orientation:
        """Of a case as nnU-Net preprocessed it.

        Args:
            properties: of the case, as nnU-Net's preprocessing stored them. If they don't say how the image lies (2D
                formats), it is taken for an axial scan.
            transpose: the plans' `transpose_forward`.
            spacing: voxel size (z, y, x) in mm.
        """
        of_image = _image_directions(properties)[:, ::-1]  # x, y, z -> z, y, x
        return cls(of_image[:, list(transpose)], tuple(spacing))

    @property
    def affine(self) -> np.ndarray:
        """(4, 4), from voxel indices (x, y, z) to mm in right, anterior, superior; the first voxel is at the origin."""
        affine = np.eye(4)
        affine[:3, :3] = (self.directions * self.spacing)[:, ::-1]
        return affine

    def axis_along(self, world: int) -> int:
        """The array axis that points most to `RIGHT`, `ANTERIOR` or `SUPERIOR`, or away from it."""
        return int(np.flatnonzero(self._axes[:, 0] == world)[0])

    def seen(self, plane: np.ndarray, axis: int) -> np.ndarray:
        """A plane as radiologists see it: superior or anterior at the top, the patient's right or front on the left.

        Args:
            plane: one index along array axis `axis`, the other two axes in their order; more axes may follow.
            axis: 0, 1 or 2.

        Returns:
            The same voxels (rows, columns, ...), as a view.
        """
        first, second = self._others(axis)
        plane = plane if first > second else plane.swapaxes(0, 1)
        rows, columns = self._rows_and_columns(axis)
        return plane[:: -1 if self._axes[rows, 1] > 0 else 1, :: -1 if self._axes[columns, 1] > 0 else 1]

    def pixel_size(self, axis: int) -> tuple[float, float]:
        """Height and width in mm of a pixel of `seen`."""
        rows, columns = self._rows_and_columns(axis)
        return self.spacing[rows], self.spacing[columns]

    def _others(self, axis: int) -> tuple[int, int]:
        """Where the other two array axes point to (`RIGHT`, ...), in the order of the array."""
        first, second = (int(self._axes[other, 0]) for other in range(3) if other != axis)
        return first, second

    def _rows_and_columns(self, axis: int) -> tuple[int, int]:
        """The array axes that are a picture's rows and columns."""
        first, second = self._others(axis)
        return self.axis_along(max(first, second)), self.axis_along(min(first, second))

    @cached_property
    def _axes(self) -> np.ndarray:
        """(3, 2): for every array axis, where it points to (`RIGHT`, ...), and 1 or -1: whether there or away."""
        affine = np.eye(4)
        affine[:3, :3] = self.directions
        return nib.orientations.io_orientation(affine).astype(int)


def _image_directions(properties: Mapping[str, Any]) -> np.ndarray:
    """(3, 3); column i is the direction of the image's axis i (x, y, z) in right, anterior, superior, of length 1."""
    if "sitk_stuff" in properties:
        directions = _LPS_TO_RAS @ np.reshape(properties["sitk_stuff"]["direction"], (3, 3))
    elif "nibabel_stuff" in properties:
        known = properties["nibabel_stuff"]
        directions = np.array(known.get("reoriented_affine", known["original_affine"]))[:3, :3]
    else:
        directions = _LPS_TO_RAS
    lengths = np.linalg.norm(directions, axis=0)
    invalid = not np.isfinite(directions).all() or np.linalg.matrix_rank(directions) < 3
    return _LPS_TO_RAS if invalid else directions / lengths
