"""The masks of a case in one file."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import blosc2
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel import SupervoxelSet, UserError
from nnunetv2_supervoxel.files import supervoxel_arrays, supervoxel_files
from nnunetv2_supervoxel.files.image_writing import write_sitk
from nnunetv2_supervoxel.files.nibabel_images import has_right_angles
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


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("shape", [(17, 40, 65), (1, 40, 65), (1, 1, 65)])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("geometry", ["none", "oblique", "tilted"])
def test_nifti_is_what_itk_writes_of_all_volumes_at_once(
    ending: str, shape: tuple[int, ...], count: int, geometry: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Tilted: axes a little off right angles, which nibabel writes."""
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn[0] += 0.002 * turn[1] * (geometry == "tilted")
    header = None if geometry == "none" else Header((0.7, 0.5, 3.0), (10.0, -20.0, 30.0), tuple(turn.ravel().tolist()))
    supervoxels = SupervoxelSet.of_labels(rng.integers(0, count + 1, shape, np.uint8))
    supervoxel_arrays.write_image(tmp_path / f"case{ending}", supervoxels, header)
    assert [path.name for path in tmp_path.iterdir()] == [f"case{ending}"]

    array = supervoxels.to_array()
    assert len(array) == count
    image = sitk.GetImageFromArray(array, isVector=False)
    if header:
        image.SetSpacing((*header.spacing, 1.0))
        image.SetOrigin((*header.origin, 0.0))
        direction = np.eye(4)
        direction[:3, :3] = turn
        image.SetDirection(direction.ravel().tolist())
    assert has_right_angles(image) is (geometry != "tilted")
    write_sitk(image, tmp_path / f"expected{ending}")
    opened = gzip.open if ending == ".nii.gz" else open
    with opened(tmp_path / f"case{ending}", "rb") as written, opened(tmp_path / f"expected{ending}", "rb") as expected:
        assert written.read() == expected.read()


def test_an_axis_too_long_for_nifti_is_refused(tmp_path: Path) -> None:
    labels = np.zeros((2, 3, 32768), np.uint8)
    labels[1, 2, -5:] = 1
    with pytest.raises(UserError, match="32768 voxels along an axis, and NIfTI holds 32767 at most; convert the image"):
        supervoxel_arrays.write_image(tmp_path / "a.nii.gz", SupervoxelSet.of_labels(labels), None)
    assert not list(tmp_path.iterdir())
    for name, written in (("a.nrrd", labels), ("a.nii", labels[:, :, 1:])):
        supervoxel_arrays.write_image(tmp_path / name, SupervoxelSet.of_labels(written), None)
        read = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / name)))
        np.testing.assert_array_equal(read.reshape(written.shape), written)


def test_nifti_needs_the_memory_of_one_volume(tmp_path: Path) -> None:
    labels = np.zeros((30, 200, 301), np.uint8)
    labels[5, 10, :200] = np.arange(1, 201)
    supervoxels = SupervoxelSet.of_labels(labels)
    tracemalloc.start()  # of NumPy's arrays, not of ITK's images
    supervoxel_arrays.write_image(tmp_path / "case.nii", supervoxels, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * labels.size
    assert (tmp_path / "case.nii").stat().st_size == 352 + 200 * labels.size
