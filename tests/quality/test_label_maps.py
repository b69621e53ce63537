"""Label maps arrive on the preprocessed grid as nnU-Net's own preprocessing brings them there."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import blosc2
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from scipy import ndimage

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.quality.label_maps import read_label_map

SHAPE = (14, 25, 36)  # z, y, x of the original image
SPACING = (1.1, 0.8, 2.5)  # x, y, z in mm
RESAMPLING = {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}
PLANS = {
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [1, 0, 2],
    "transpose_backward": [1, 0, 2],
    "foreground_intensity_properties_per_channel": {"0": {}},
    "configurations": {
        "3d_fullres": {
            "architecture": {},
            "spacing": [0.9, 2.1, 1.4],
            "normalization_schemes": ["ZScoreNormalization"],
            "use_mask_for_norm": [False],
            "resampling_fn_data": "resample_data_or_seg_to_shape",
            "resampling_fn_data_kwargs": RESAMPLING | {"is_seg": False, "order": 3},
            "resampling_fn_seg": "resample_data_or_seg_to_shape",
            "resampling_fn_seg_kwargs": RESAMPLING,
        },
        "2d": {"inherits_from": "3d_fullres", "spacing": [1.7, 1.4]},
    },
}


class Case(NamedTuple):
    """A label map in the original geometry, and what nnU-Net's preprocessing makes of it."""

    path: Path
    expected: np.ndarray
    outside: np.ndarray
    properties: dict
    manager: PlansManager
    configuration: ConfigurationManager

    def read(self, path: Path) -> np.ndarray:
        return read_label_map(path, self.expected.shape, self.properties, self.manager, self.configuration)


def write_image(path: Path, array: np.ndarray, **geometry: tuple) -> Path:
    image = sitk.GetImageFromArray(array)
    geometry = {
        "Spacing": SPACING,
        "Origin": (-12.0, 7.0, 31.0),
        "Direction": (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0),
    } | geometry
    for name, value in geometry.items():
        getattr(image, f"Set{name}")(value)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture(params=["3d_fullres", "2d"])
def case(request: pytest.FixtureRequest, rng: np.random.Generator, tmp_path: Path) -> Case:
    """Transposed, cropped (the image's rim is 0), resampled along all axes."""
    z, y, x = np.indices(SHAPE)
    labels = np.zeros(SHAPE, np.uint8)
    labels[((z - 6) / 4) ** 2 + ((y - 11) / 6) ** 2 + ((x - 15) / 9) ** 2 < 1] = 3
    labels[4:9, 15:20, 20:31] = 1
    labels[0:2, 3:6, 3:7] = 2  # reaches into the image's rim
    image = np.zeros(SHAPE, np.float32)
    image[1:13, 4:22, 5:34] = rng.random((12, 18, 29)) + 1
    image[1:6, 4:11, 5:13] = 0  # a corner outside nnU-Net's nonzero mask, where its preprocessing writes -1
    manager = PlansManager(PLANS)
    configuration = manager.get_configuration(request.param)
    _, expected, properties = DefaultPreprocessor(verbose=False).run_case(
        [str(write_image(tmp_path / "image.nii.gz", image))],
        str(write_image(tmp_path / "case.nii.gz", labels)),
        manager,
        configuration,
        {"labels": {"background": 0, "a": 1, "b": 2, "c": 3}, "file_ending": ".nii.gz"},
    )
    assert expected.min() == -1
    expected = np.ascontiguousarray(expected[0])
    return Case(tmp_path / "case.nii.gz", expected.clip(0), expected < 0, properties, manager, configuration)


def test_a_label_map_in_the_original_geometry_is_what_preprocessing_made_of_it(case: Case) -> None:
    assert case.expected.shape != SHAPE
    found = case.read(case.path)
    assert np.issubdtype(found.dtype, np.integer)
    differing = found != case.expected
    assert not differing[~ndimage.binary_dilation(case.outside)].any()
    assert differing.sum() <= 2  # next to voxels that preprocessing sets to -1 before it resamples


def test_label_maps_on_the_preprocessed_grid_stay_as_they_are(case: Case, tmp_path: Path) -> None:
    blosc2.asarray(case.expected, urlpath=str(tmp_path / "a.b2nd"))
    blosc2.asarray(case.expected[None], urlpath=str(tmp_path / "b.b2nd"))
    write_image(tmp_path / "c.nrrd", case.expected)
    write_image(tmp_path / "d.nii.gz", case.expected.astype(np.float32), Spacing=(1.0, 1.0, 1.0))
    for name in ("a.b2nd", "b.b2nd", "c.nrrd", "d.nii.gz"):
        np.testing.assert_array_equal(case.read(tmp_path / name), case.expected)


def test_the_original_shape_in_another_geometry_is_refused(case: Case, tmp_path: Path) -> None:
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(case.path)))
    for name, geometry in {
        "spacing": {"Spacing": (1.1, 0.8, 2.6)},
        "origin": {"Origin": (-12.0, 7.5, 31.0)},
        "direction": {"Direction": tuple(np.eye(3).ravel())},
    }.items():
        path = write_image(tmp_path / f"{name}.nii.gz", labels, **geometry)
        with pytest.raises(UserError, match="original image's shape, but another spacing, origin or direction"):
            case.read(path)


def test_other_shapes_are_refused_with_those_that_would_do(case: Case, tmp_path: Path) -> None:
    path = write_image(tmp_path / "small.nii.gz", np.zeros((14, 25, 35), np.uint8))
    with pytest.raises(UserError) as told:
        case.read(path)
    for shape in ((14, 25, 35), case.expected.shape, SHAPE):
        assert str(shape) in str(told.value)
    blosc2.asarray(np.zeros(SHAPE, np.uint8), urlpath=str(tmp_path / "original.b2nd"))
    with pytest.raises(UserError, match=r"has shape \(14, 25, 36\), but the preprocessed case has"):
        case.read(tmp_path / "original.b2nd")


def test_what_is_no_label_map_is_refused(case: Case, tmp_path: Path) -> None:
    blosc2.asarray(case.expected + 0.5, urlpath=str(tmp_path / "image.b2nd"))
    with pytest.raises(UserError, match="aren't whole"):
        case.read(tmp_path / "image.b2nd")
    (tmp_path / "damaged.b2nd").write_bytes(b"nothing")
    with pytest.raises(UserError, match="can't be read as a Blosc2 array"):
        case.read(tmp_path / "damaged.b2nd")
    truncated = tmp_path / "truncated.nii.gz"
    truncated.write_bytes(case.path.read_bytes()[:150])
    with pytest.raises(UserError, match=r"truncated\.nii\.gz (is damaged|can't be read)"):
        case.read(truncated)
