"""What ITK refuses, through nibabel: NIfTI with axes a little off right angles, NIfTI-2, MGZ.

nnU-Net has `NibabelIO` for such images. Here they become SimpleITK images like all others, with the same affine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel.errors import UserError

_ENDINGS = (".nii", ".nii.gz", ".mgz", ".mgh")
_KEY, _VALUE = "reader", "nibabel"
# Cosines between axes. Converters leave 0.0005; a CT with a tilted gantry has 0.02 for each degree.
_SHEARED = 0.01
_RIGHT_ANGLED = 1e-5
_LPS = np.diag([-1.0, -1.0, 1.0])  # ITK's coordinates; NIfTI's are RAS


def read_with_nibabel(path: Path) -> sitk.Image | None:
    """A 3D or 4D image that ITK refused; None if nibabel can't read it either.

    Raises:
        UserError: it is sheared, or its header gives an axis no length.
    """
    import nibabel  # half a second

    if not path.name.lower().endswith(_ENDINGS):
        return None
    try:
        stored: Any = nibabel.load(path)
        array = np.asanyarray(stored.dataobj)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        if array.dtype == np.longdouble:
            array = array.astype(np.float64)
        image = sitk.GetImageFromArray(array.T, isVector=False)
        affine = np.asarray(stored.affine, np.float64)
    except Exception:  # nibabel, zlib and SimpleITK each fail in their own way
        return None
    _check_axes(affine, path)
    axes = _LPS @ affine[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    dimension = image.GetDimension()
    direction = np.eye(dimension)
    direction[:3, :3] = axes / spacing
    image.SetSpacing([*spacing.tolist(), 1.0][:dimension])
    image.SetOrigin([*(_LPS @ affine[:3, 3]).tolist(), 0.0][:dimension])
    image.SetDirection(direction.ravel().tolist())
    image.SetMetaData(_KEY, _VALUE)
    return image


def was_read_with_nibabel(image: sitk.Image) -> bool:
    """Whether ITK had refused the image's file."""
    return image.HasMetaDataKey(_KEY) and image.GetMetaData(_KEY) == _VALUE


def has_right_angles(image: sitk.Image) -> bool:
    """Whether ITK's NIfTI holds the image's axes exactly."""
    direction = np.reshape(image.GetDirection(), (image.GetDimension(),) * 2)
    return bool(np.abs(direction.T @ direction - np.eye(len(direction))).max() < _RIGHT_ANGLED)


def write_with_nibabel(image: sitk.Image, path: Path) -> None:
    """Write a 3D or 4D image as NIfTI, with its affine as it is."""
    import nibabel

    direction = np.reshape(image.GetDirection(), (image.GetDimension(),) * 2)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = _LPS @ (direction * image.GetSpacing()[:3])
    affine[:3, 3] = _LPS @ image.GetOrigin()[:3]
    array = sitk.GetArrayFromImage(image).T
    fits = max(array.shape) <= np.iinfo(np.int16).max
    nifti = (nibabel.Nifti1Image if fits else nibabel.Nifti2Image)(array, affine)
    nifti.header.set_xyzt_units("mm")
    nibabel.save(nifti, path)


def _check_axes(affine: np.ndarray, path: Path) -> None:
    axes = affine[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if not np.isfinite(affine).all() or not (lengths > 0).all():
        raise UserError(f"{path} has a header that gives an axis no length; correct its affine.")
    cosine = np.abs(np.triu((axes / lengths).T @ (axes / lengths), 1)).max()
    if cosine > _SHEARED:
        raise UserError(
            f"{path} is sheared: two of its axes are {np.degrees(np.arcsin(min(cosine, 1))):.1f} degrees off a right "
            "angle (a CT with a tilted gantry?); resample it to a grid with right angles first."
        )
