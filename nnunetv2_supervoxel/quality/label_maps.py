"""Label maps on the grid of a preprocessed case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files.blosc2_arrays import open_blosc2
from nnunetv2_supervoxel.files.volumes import read_sitk

Shape = tuple[int, ...]


def read_label_map(
    path: Path, shape: Shape, properties: dict[str, Any], manager: PlansManager, configuration: ConfigurationManager
) -> np.ndarray:
    """A label map, either on the grid of the preprocessed case or in the original image's geometry.

    The latter is brought to the preprocessed grid as nnU-Net's preprocessing does it: axes transposed, cropped to the
    box that the image was cropped to, resampled with the plans' function for segmentations. (nnU-Net also marks voxels
    outside of its nonzero mask with -1 before it resamples. So next to these, a few voxels of its own can differ.) An
    image that has the original's shape must have its geometry, too.

    Args:
        path: Blosc2 array (z, y, x) or (1, z, y, x) on the preprocessed grid, or an image that SimpleITK reads.
        shape: of the preprocessed case (z, y, x) in voxels.
        properties: of the case, as nnU-Net's preprocessing stored them.
        manager: of the plans by which the case was preprocessed.
        configuration: the configuration.

    Returns:
        Integers (z, y, x) of that shape.

    Raises:
        UserError: the file is damaged, holds no whole numbers, or fits neither the preprocessed case nor the original.
    """
    if path.suffix == ".b2nd":
        return _whole_numbers(_fitting(_read_array(path), shape, path, str(shape)), path)
    stored = sitk.GetArrayFromImage(read_sitk(path))  # says if the file is damaged
    original, geometry = _read_as_nnunet(path, manager)
    original = original.transpose([0, *(axis + 1 for axis in manager.transpose_forward)])
    before = tuple(properties["shape_before_cropping"])
    if original.shape == (1, *before):
        if _same_geometry(geometry, properties):
            return _whole_numbers(_preprocessed(original, shape, properties, manager, configuration), path)
        if stored.shape != shape:
            raise UserError(
                f"{path} has the original image's shape, but another spacing, origin or direction; "
                "bring it into the image's geometry."
            )
    known = f"{shape} and the original image {tuple(before[axis] for axis in manager.transpose_backward)}"
    return _whole_numbers(_fitting(stored, shape, path, known), path)


def _read_array(path: Path) -> np.ndarray:
    """(z, y, x), or whatever else is in the file."""
    try:
        array = open_blosc2(path)[:]
    except Exception as error:  # also for a file that ends in the middle
        raise UserError(f"{path} can't be read as a Blosc2 array: it is damaged; copy it again.") from error
    return array[0] if array.ndim == 4 and len(array) == 1 else array


def _read_as_nnunet(path: Path, manager: PlansManager) -> tuple[np.ndarray, dict[str, Any]]:
    """(1, z, y, x) and its geometry, read as the dataset's images were."""
    try:
        return manager.image_reader_writer_class().read_seg(str(path))
    except Exception as error:  # readers raise what the package behind them raises
        raise UserError(f"{path} can't be read as nnU-Net read the dataset's images; convert it.") from error


def _same_geometry(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether what nnU-Net's reader says of spacing, origin and direction is the same, up to rounding in a header."""
    return all(
        _same_geometry(value, other[key]) if isinstance(value, dict) else np.allclose(value, other[key], atol=1e-3)
        for key, value in one.items()
        if key in other
    )


def _preprocessed(
    labels: np.ndarray,
    shape: Shape,
    properties: dict[str, Any],
    manager: PlansManager,
    configuration: ConfigurationManager,
) -> np.ndarray:
    """A label map (1, z, y, x) of the original image, axes transposed, on the grid of the preprocessed case (z, y, x).

    See `DefaultPreprocessor.run_case_npy` in nnU-Net.
    """
    spacing = [properties["spacing"][axis] for axis in manager.transpose_forward]
    target = [spacing[0], *configuration.spacing][-3:]  # 2D configurations leave the first axis as it is
    box = tuple(slice(*side) for side in properties["bbox_used_for_cropping"])
    return configuration.resampling_fn_seg(labels[(slice(None), *box)], shape, spacing, target)[0]


def _fitting(labels: np.ndarray, shape: Shape, path: Path, known: str) -> np.ndarray:
    """The same labels, if they have a case's shape; `known` says for the message which shapes would do."""
    if labels.shape != shape:
        raise UserError(f"{path} has shape {labels.shape}, but the preprocessed case has {known}.")
    return labels


def _whole_numbers(labels: np.ndarray, path: Path) -> np.ndarray:
    """The same labels as integers."""
    if np.issubdtype(labels.dtype, np.integer):
        return labels
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int32)
    if not np.array_equal(whole, labels):
        raise UserError(f"{path} holds numbers that aren't whole, so it is no label map.")
    return whole
