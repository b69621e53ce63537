"""The masks of a case in one file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import blosc2
import numpy as np
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel import SupervoxelSet
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.files.volumes import Header

SHAPE = (17, 40, 65)

Make = Callable[[np.random.Generator], SupervoxelSet]


def test_a_patch_of_one_supervoxel_touches_no_other(
    some_supervoxels: Make, tmp_path: Path, rng: np.random.Generator
) -> None:
    supervoxel_files.write_case(tmp_path, "case", some_supervoxels(rng), {}, patch_size=(8, 16, 16))
    array = blosc2.open(str(tmp_path / "case.b2nd"))
    assert all(chunk <= 1.5 * patch + 1 for chunk, patch in zip(array.chunks[1:], (8, 16, 16), strict=True))


def test_an_image_keeps_the_geometry(some_supervoxels: Make, tmp_path: Path, rng: np.random.Generator) -> None:
    supervoxels = some_supervoxels(rng)
    cosines = (0.0, -1.0, 0.0, 0.0, 0.0, -1.0, 1.0, 0.0, 0.0)
    header = Header((0.7, 0.5, 3.0), (10.0, -20.0, 30.0), cosines)
    supervoxel_files.write_case(tmp_path, "case", supervoxels, {}, ending=".nii.gz", header=header)
    assert sorted(os.listdir(tmp_path)) == ["case.json", "case.nii.gz"]
    assert supervoxel_files.is_done(tmp_path, "case", ".nii.gz")
    image = sitk.ReadImage(str(tmp_path / "case.nii.gz"))
    assert image.GetSize() == (65, 40, 17, 3)
    assert image.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_allclose(image.GetSpacing(), (0.7, 0.5, 3.0, 1.0), rtol=1e-6)
    np.testing.assert_allclose(image.GetOrigin()[:3], (10, -20, 30), atol=1e-5)
    np.testing.assert_allclose(np.reshape(image.GetDirection(), (4, 4))[:3, :3].ravel(), cosines, atol=1e-6)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), supervoxels.to_array())
