"""From the grid of a preprocessed case back to the image that it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from scipy.sparse import csc_array

from nnunetv2_supervoxel.errors import UserError

_NEGLIGIBLE = 1e-9  # a weight that changes no voxel; splines have such ones far away
_WIDE = (-10.0, 10.0)  # a range that holds every weight of a spline

Box = tuple[slice, ...]


class OriginalGeometry:
    """The way back of one case, as nnU-Net goes it with its predictions, see `export_prediction.py` there.

    Args:
        properties: of the case, as nnU-Net's preprocessing stored them.
        manager: of the plans by which the case was preprocessed.
        configuration: the configuration.
        preprocessed_shape: of the preprocessed case (z, y, x) in voxels.

    Attributes:
        shape: of the original image (z, y, x) in voxels, in the order of axes in which nnU-Net read it.

    Raises:
        UserError: the properties lack what is needed.
    """

    def __init__(
        self,
        properties: Mapping[str, Any],
        manager: PlansManager,
        configuration: ConfigurationManager,
        preprocessed_shape: tuple[int, ...],
    ) -> None:
        self._resample = configuration.resampling_fn_probabilities
        self._backward = manager.transpose_backward
        self._writer = manager.image_reader_writer_class()
        self._properties = properties
        self._here = preprocessed_shape
        try:
            before = properties["shape_before_cropping"]
            self._box = properties["bbox_used_for_cropping"]
            self._cropped = tuple(properties["shape_after_cropping_and_before_resampling"])
            self._spacing = [properties["spacing"][axis] for axis in manager.transpose_forward]
        except (KeyError, TypeError, IndexError) as error:
            raise UserError(f"nnU-Net's .pkl of the case lacks {error}; preprocess the dataset again.") from error
        # 2D configurations leave the first axis as it is.
        self._spacing_here = [self._spacing[0], *configuration.spacing][-3:]
        self.shape = tuple(before[axis] for axis in self._backward)

    def bring_back(self, mask: np.ndarray, place: Box) -> tuple[np.ndarray, Box]:
        """A mask in the original image, as the boolean part (z, y, x) in which it lies, and the place of this part.

        Resampled with the plans' function for probabilities; the mask is where these exceed one half. This is what
        nnU-Net does with a prediction of two classes that is certain everywhere.

        Args:
            mask: boolean (z, y, x), a part of the preprocessed case outside of which the mask is False.
            place: of this part in the preprocessed case.
        """
        share, there = mask.astype(float), []
        for weights, side, (start, _) in zip(self._weights, place, self._box, strict=True):
            used = weights[:, side]
            first, stop = (used.indices.min(), used.indices.max() + 1) if used.nnz else (0, 0)
            there.append(slice(int(start + first), int(start + stop)))
            depth, height, width = share.shape
            along = used.tocsr()[first:stop] @ share.reshape(depth, height * width)
            share = along.reshape(len(along), height, width).transpose(1, 2, 0)  # the next axis comes to the front
        inside = share.astype(np.float32) > 0.5  # nnU-Net's function gives float32, too, so ties are broken alike
        return inside.transpose(self._backward), tuple(there[axis] for axis in self._backward)

    @cached_property
    def _weights(self) -> list[csc_array]:
        """For each axis the weight of every voxel here in every voxel there: (there, here), mostly zeros.

        They are read off the plans' function, which is linear and treats one axis after the other, by resampling
        the unit vectors along an axis. With them a small mask needs no resampling of the whole image.
        """
        weights = []
        for axis, (here, there) in enumerate(zip(self._here, self._cropped, strict=True)):
            beside, across = (axis + 1) % 3, (axis + 2) % 3  # these axes keep their size
            # The function clips what it makes to the range of its input, or of a slice. Splines need more than 0 to 1.
            unit = np.pad(np.eye(here)[:, :, None], ((0, 0), (1, 1), (1, 1)), constant_values=((0, 0), *[_WIDE] * 2))
            target = np.array([there, *unit.shape[1:]])[np.argsort([axis, beside, across])]
            unit = np.moveaxis(unit, (0, 1, 2), (axis, beside, across))
            resampled = np.asarray(self._resample(unit[None], target, self._spacing_here, self._spacing)[0])
            table = np.moveaxis(resampled, (axis, beside, across), (0, 1, 2))[:, 1:-1, 1]
            weights.append(csc_array(np.where(np.abs(table) > _NEGLIGIBLE, table, 0)))
        return weights

    def write(self, labels: np.ndarray, path: Path) -> nib.Nifti1Image:
        """Write whole numbers (z, y, x) of `shape` with the original image's geometry, by nnU-Net's own writer.

        Args:
            labels: from 0 to 65535.
            path: of a .nii file.

        Returns:
            What was written. Its voxels are read when they are asked for.

        Raises:
            UserError: the original image was in a format without a geometry.
        """
        if not {"sitk_stuff", "nibabel_stuff"} & self._properties.keys():
            raise UserError(
                f"nnU-Net read the case with {type(self._writer).__name__}, from a format without origin and direction "
                "(such as PNG or TIFF), so there is no geometry to go back to."
            )
        self._writer.write_seg(labels, str(path), self._properties)
        return nib.Nifti1Image.from_filename(path)
