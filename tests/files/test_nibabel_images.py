"""Images that ITK refuses are read, and what is made of them has their affine."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel import GenerationConfig, SupervoxelSet, UserError
from nnunetv2_supervoxel.files.image_writing import write_sitk
from nnunetv2_supervoxel.files.raw_dataset import import_images
from nnunetv2_supervoxel.files.volumes import read_image, read_sitk
from nnunetv2_supervoxel.runners.cases import Run, do_case, folder_cases

SHAPE = (11, 7, 5)  # x, y, z


def affine(shear: float = 0.0) -> np.ndarray:
    """Oblique axes and anisotropic voxels; the second axis leans towards the first."""
    turned = np.array([[0.0, -0.8, 0.6], [1.0, 0.0, 0.0], [0.0, 0.6, 0.8]])
    made = np.eye(4)
    made[:3, :3] = turned @ np.array([[1, shear, 0], [0, 1, 0], [0, 0, 1]]) * (0.5, 0.75, 3.0)
    made[:3, 3] = (-12.0, 30.0, 5.0)
    return made.astype(np.float32).astype(np.float64)  # what a header holds


def voxels(dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 30, SHAPE).astype(dtype)


def save(folder: Path, kind: str) -> Path:
    folder.mkdir(exist_ok=True)
    if kind == "MGZ":
        path, image = folder / "a.mgz", nibabel.MGHImage(voxels(), affine())
    elif kind == "NIfTI-2":
        path, image = folder / "a.nii.gz", nibabel.Nifti2Image(voxels(), affine())
    else:
        path, image = folder / "a.nii.gz", nibabel.Nifti1Image(voxels(), affine(shear=0.0005))
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("kind", ["sheared a little", "NIfTI-2", "MGZ"])
def test_supervoxels_have_the_affine_of_an_image_that_itk_refuses(kind: str, tmp_path: Path) -> None:
    path = save(tmp_path / "in", kind)
    with pytest.raises(RuntimeError):
        sitk.ReadImage(str(path))
    volume = read_image(path, (0,))
    np.testing.assert_array_equal(volume.array[0], voxels().T)
    np.testing.assert_allclose(volume.spacing, (3.0, 0.75, 0.5), rtol=1e-6)

    config = GenerationConfig(file_format=(".nii.gz", ".mgz"))
    (case,) = folder_cases(tmp_path / "in", tmp_path / "out", config)
    bright = (volume.array[0] > 100).astype(np.uint8)
    report = do_case(case, lambda *_: SupervoxelSet.of_labels(bright), {"config": {}}, Run())
    assert report.status == "made", report.message
    made = nibabel.load(tmp_path / "out" / "a.nii.gz")
    np.testing.assert_allclose(made.affine, nibabel.load(path).affine, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(made.dataobj).reshape(SHAPE), bright.T)
    assert made.header.get_data_dtype() == np.uint8
    read_image(tmp_path / "out" / "a.nii.gz", (0,))  # ours can be read again


def test_positions_in_mm_are_those_of_the_affine(tmp_path: Path) -> None:
    image = read_sitk(save(tmp_path, "sheared a little"))
    x, y, z = image.TransformIndexToPhysicalPoint((9, 5, 2))
    np.testing.assert_allclose((-x, -y, z), (affine(0.0005) @ (9, 5, 2, 1))[:3], rtol=1e-6)


def test_a_fourth_axis_other_byte_order_and_scaled_values(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(-500, 500, (*SHAPE, 2)).astype(">i2")
    image = nibabel.Nifti2Image(stack, affine(0.0005))
    image.header.set_slope_inter(0.5, 3)
    nibabel.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read_image(tmp_path / "a.nii", (1,)).array[0], stack[..., 1].T * 0.5 + 3)


def test_a_real_shear_is_refused_by_that_name(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(voxels(), affine(0.2)), tmp_path / "a.nii.gz")
    with pytest.raises(UserError, match=r"a\.nii\.gz is sheared: two of its axes are 11\.3 degrees off a right angle"):
        read_image(tmp_path / "a.nii.gz", (0,))


def test_a_truncated_one_is_damaged(tmp_path: Path) -> None:
    path = save(tmp_path, "NIfTI-2")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="can't be read as an image: it is damaged"):
        read_image(path, (0,))


def test_an_axis_without_length_is_told(tmp_path: Path) -> None:
    flat = affine()
    flat[:3, 1] = 0
    image = nibabel.Nifti2Image(voxels(), affine())
    content = bytearray(image.to_bytes())
    image.header["srow_x"], image.header["srow_y"], image.header["srow_z"] = flat[:3]
    image.header["sform_code"], image.header["qform_code"] = 1, 0
    content[: image.header.sizeof_hdr] = image.header.binaryblock
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(UserError, match="a header that gives an axis no length"):
        read_image(tmp_path / "a.nii", (0,))


def test_right_angles_are_written_by_itk_as_before(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(voxels().T)
    image.SetDirection((0.0, -1.0, 0.0, 0.8, 0.0, -0.6, 0.6, 0.0, 0.8))
    write_sitk(image, tmp_path / "a.nii.gz")
    sitk.WriteImage(image, str(tmp_path / "b.nii.gz"), useCompression=True)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_import_has_nnunet_read_them_through_nibabel(
    tmp_path: Path, nnunet_folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    path = save(tmp_path / "in", "sheared a little")
    folder, done, failures = import_images(tmp_path / "in", 5)
    assert (done, failures) == (1, {})
    assert json.loads((folder / "dataset.json").read_text())["overwrite_image_reader_writer"] == "NibabelIO"
    label = nibabel.load(folder / "labelsTr" / "a.nii.gz")
    np.testing.assert_array_equal(label.affine, nibabel.load(path).affine)
