"""From the grid of a preprocessed case back to the image that it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import insert_crop_into_image
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunetv2_supervoxel.errors import UserError


class OriginalGeometry:
    """The way back of one case, as nnU-Net goes it with its predictions, see `export_prediction.py` there.

    Args:
        properties: of the case, as nnU-Net's preprocessing stored them.
        manager: of the plans by which the case was preprocessed.
        configuration: the configuration.

    Attributes:
        shape: of the original image (z, y, x) in voxels, in the order of axes in which nnU-Net read it.

    Raises:
        UserError: the properties lack what is needed, or the original image was in a format without a geometry.
    """

    def __init__(
        self, properties: Mapping[str, Any], manager: PlansManager, configuration: ConfigurationManager
    ) -> None:
        self._resample = configuration.resampling_fn_probabilities
        self._backward = manager.transpose_backward
        self._writer = manager.image_reader_writer_class()
        self._properties = properties
        try:
            self._before = tuple(properties["shape_before_cropping"])
            self._box = properties["bbox_used_for_cropping"]
            self._cropped = tuple(properties["shape_after_cropping_and_before_resampling"])
            self._spacing = [properties["spacing"][axis] for axis in manager.transpose_forward]
        except (KeyError, TypeError, IndexError) as error:
            raise UserError(f"nnU-Net's .pkl of the case lacks {error}; preprocess the dataset again.") from error
        if not {"sitk_stuff", "nibabel_stuff"} & properties.keys():
            raise UserError(
                f"nnU-Net read the case with {type(self._writer).__name__}, from a format without origin and direction "
                "(such as PNG or TIFF), so there is no geometry to go back to."
            )
        # 2D configurations leave the first axis as it is.
        self._spacing_here = [self._spacing[0], *configuration.spacing][-3:]
        self.shape = tuple(self._before[axis] for axis in self._backward)

    def bring_back(self, mask: np.ndarray) -> np.ndarray:
        """A mask in the original image, boolean (z, y, x) of `shape`.

        Resampled with the plans' function for probabilities; the mask is where these exceed one half. This is what
        nnU-Net does with a prediction of two classes that is certain everywhere.

        Args:
            mask: boolean (z, y, x) on the grid of the preprocessed case.
        """
        share = self._resample(mask[None].astype(np.float32), self._cropped, self._spacing_here, self._spacing)
        whole = insert_crop_into_image(np.zeros(self._before, bool), np.asarray(share[0]) > 0.5, self._box)
        return whole.transpose(self._backward)

    def write(self, labels: np.ndarray, path: Path) -> nib.Nifti1Image:
        """Write whole numbers (z, y, x) of `shape` with the original image's geometry, by nnU-Net's own writer.

        Args:
            labels: from 0 to 65535.
            path: of a .nii file.

        Returns:
            What was written. Its voxels are read when they are asked for.
        """
        self._writer.write_seg(labels, str(path), self._properties)
        return nib.Nifti1Image.from_filename(path)
