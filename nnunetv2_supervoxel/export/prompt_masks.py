"""Masks in files, as prompts: read, checked against the image, and listed."""

from __future__ import annotations

import itertools
from functools import lru_cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.prompt_file import MaskPrompt
from nnunetv2_supervoxel.files.volumes import read_sitk

_ELSEWHERE = 0.1  # voxels; headers round
_SHOWN = 12  # labels in a message


def read_mask(prompt: MaskPrompt, image: sitk.Image) -> np.ndarray:
    """The mask that a prompt names: boolean (z, y, x), at least one voxel.

    Args:
        prompt: the file, and the label in it.
        image: 3D; the mask has its geometry.

    Raises:
        UserError: the file can't be read, lies elsewhere than the image, or has no such label.
    """
    stored = _read(prompt.file)
    if stored.GetDimension() == 4:
        if prompt.label not in list_labels(prompt.file):
            count = stored.GetSize()[3]
            raise UserError(f"{prompt.file} has {count} volumes, so 'label' must say which: 1 to {count}")
        stored = stored[:, :, :, prompt.label - 1] > 0
        mask = sitk.GetArrayFromImage(stored) > 0
    else:
        values = sitk.GetArrayViewFromImage(stored)
        mask = values > 0 if prompt.label is None else values == prompt.label
    _check_geometry(stored, image, prompt.file)
    if not mask.any():
        known = ", ".join(map(str, list_labels(prompt.file)[:_SHOWN])) or "none"
        wanted = "voxel above 0" if prompt.label is None else f"voxel of label {prompt.label} (labels there: {known})"
        raise UserError(f"{prompt.file} has no {wanted}")
    return np.asarray(mask)


def list_labels(path: Path) -> list[int]:
    """The labels that a prompt can name: of a 4D file the numbers of its volumes, from 1; else the values above 0.

    Raises:
        UserError: the file can't be read, or is no label map.
    """
    stored = _read(path)
    if stored.GetDimension() == 4:
        return list(range(1, stored.GetSize()[3] + 1))
    values = np.unique(sitk.GetArrayViewFromImage(stored))
    values = values[values > 0]
    if (values % 1 != 0).any():
        raise UserError(f"{path} holds numbers that aren't whole, so it is no label map")
    return [int(value) for value in values]


def _read(path: Path) -> sitk.Image:
    """A 3D or 4D image. The last one is kept, because many of its labels may be wanted."""
    return _read_unless_changed(path, path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=1)
def _read_unless_changed(path: Path, _: int) -> sitk.Image:
    image = read_sitk(path)
    if image.GetDimension() not in (3, 4) or image.GetNumberOfComponentsPerPixel() != 1:
        raise UserError(
            f"{path} has {image.GetDimension()} dimensions and {image.GetNumberOfComponentsPerPixel()} component(s) "
            "per voxel; a mask is 3D, or 4D with one mask per volume"
        )
    return image


def _check_geometry(mask: sitk.Image, image: sitk.Image, path: Path) -> None:
    """Raise `UserError` unless both have the same voxels at the same places."""
    if mask.GetSize() != image.GetSize():
        raise UserError(
            f"{path} has size {list(mask.GetSize())}, but the image has {list(image.GetSize())} voxels (x, y, z); "
            "resample it to the image"
        )
    corners = itertools.product(*((0, size - 1) for size in image.GetSize()))
    there = [(mask.TransformIndexToPhysicalPoint(one), image.TransformIndexToPhysicalPoint(one)) for one in corners]
    apart = max(float(np.linalg.norm(np.subtract(*pair))) for pair in there)
    if apart > _ELSEWHERE * min(image.GetSpacing()):
        raise UserError(
            f"{path} lies elsewhere than the image (a corner is {apart:.3g} mm off): its spacing, origin or direction "
            "differ; resample it to the image"
        )
