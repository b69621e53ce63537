"""Writing images in the formats that SimpleITK knows."""

from __future__ import annotations

import errno
from pathlib import Path

import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel.files.nibabel_images import has_right_angles, write_with_nibabel
from nnunetv2_supervoxel.files.volumes import count_bytes, voxel_bytes

NIFTI_HEADER = 352  # bytes


def write_sitk(image: sitk.Image, path: Path) -> None:
    """Write an image, compressed where the format that its name ends in can be.

    Raises:
        OSError: not all of it was written.
        RuntimeError: SimpleITK couldn't write it.
    """
    is_nifti = path.name.endswith((".nii", ".nii.gz"))
    if is_nifti and not has_right_angles(image):
        write_with_nibabel(image, path)
        return
    sitk.WriteImage(image, str(path), useCompression=True)
    # On a full disk, ITK's NIfTI ends in the middle, and nothing is said.
    if is_nifti and count_bytes(path) < NIFTI_HEADER + voxel_bytes(image):
        raise OSError(errno.EIO, "not all voxels were written", str(path))
