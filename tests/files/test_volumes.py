from pathlib import Path

import blosc2
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.files.volumes import read_image

SHAPE = (5, 7, 11)


def array(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def save(path: Path, image: sitk.Image) -> Path:
    sitk.WriteImage(image, str(path))
    return path


def test_a_3d_image_keeps_axes_spacing_and_geometry(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(array(*SHAPE))
    image.SetSpacing((0.5, 0.6, 3.0))
    image.SetOrigin((1, 2, 3))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    volume = read_image(save(tmp_path / "a.nii.gz", image), (0,))
    np.testing.assert_array_equal(volume.array[0], array(*SHAPE))
    np.testing.assert_allclose(volume.spacing, (3.0, 0.6, 0.5), rtol=1e-6)
    np.testing.assert_allclose(volume.header.spacing, (0.5, 0.6, 3.0), rtol=1e-6)
    np.testing.assert_allclose(volume.header.direction, (0, 1, 0, -1, 0, 0, 0, 0, 1), atol=1e-6)


def test_the_fourth_axis_becomes_channels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", sitk.GetImageFromArray(array(3, *SHAPE), isVector=False))
    np.testing.assert_array_equal(read_image(path, (2, 0)).array, array(3, *SHAPE)[[2, 0]])


def test_components_become_channels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nrrd", sitk.GetImageFromArray(array(*SHAPE, 3), isVector=True))
    np.testing.assert_array_equal(read_image(path, (1,)).array[0], array(*SHAPE, 3)[..., 1])


def test_a_2d_image_is_one_slice(tmp_path: Path) -> None:
    rgb = np.arange(7 * 11 * 3, dtype=np.uint8).reshape(7, 11, 3)
    volume = read_image(save(tmp_path / "a.png", sitk.GetImageFromArray(rgb, isVector=True)), (0, 1, 2))
    np.testing.assert_array_equal(volume.array, np.moveaxis(rgb, -1, 0)[:, None])
    assert len(volume.header.spacing) == 3


@pytest.mark.parametrize("shape", [SHAPE, (2, *SHAPE)])
def test_blosc2_arrays_have_three_or_four_axes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    blosc2.asarray(array(*shape), urlpath=str(tmp_path / "a.b2nd"))
    assert read_image(tmp_path / "a.b2nd", (0,)).array.shape == (1, *SHAPE)


@pytest.mark.parametrize(
    ("name", "kind"), [("a.nii.gz", "an image"), ("a.nrrd", "an image"), ("a.b2nd", "a Blosc2 array")]
)
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty; copy or download it again"),
        (b"nonsense", "it is damaged, or in a format that isn't known here; copy it again, or convert it"),
        (None, "no such file or directory"),
    ],
)
def test_a_damaged_file_is_one_plain_sentence(
    tmp_path: Path, name: str, kind: str, content: bytes | None, why: str
) -> None:
    """Without the words of SimpleITK, nibabel and Blosc2."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        read_image(tmp_path / name, (0,))
    assert str(error.value) == f"{tmp_path / name} can't be read as {kind}: {why}."


def test_a_channel_that_does_not_exist_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", sitk.GetImageFromArray(array(*SHAPE)))
    with pytest.raises(UserError, match=r"1 channel\(s\), so channel 2"):
        read_image(path, (2,))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".gipl"])
def test_a_truncated_file_is_no_image_with_zeros(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"image{ending}"
    values = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path))
    assert read_image(path, (0,)).array.shape == (1, 5, 6, 7)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="not all of its voxels"):
        read_image(path, (0,))
