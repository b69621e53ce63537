"""`nnUNetv2_supervoxel_to_nifti`: labels go through nnU-Net's preprocessing, and come back as nnU-Net brings back its
predictions. The image is oblique, anisotropic, cropped, and its axes are transposed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import blosc2
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from scipy.spatial.transform import Rotation

from nnunetv2_supervoxel import SupervoxelSet
from nnunetv2_supervoxel.commands.to_nifti import main
from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.original_geometry import OriginalGeometry
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.files.preprocessed import open_case, open_preprocessed
from nnunetv2_supervoxel.masks.packed_masks import PackedMask
from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel

SHAPE = (24, 41, 52)  # z, y, x of the original image
SPACING = (0.8, 1.1, 3.0)  # x, y, z in mm
ORIGIN = (-12.0, 7.0, 31.0)
# Oblique, and of an orientation that is not ITK's own: y and z are swapped, x is mirrored.
DIRECTION = Rotation.from_euler("xyz", (8, -13, 21), degrees=True).as_matrix() @ np.array(
    [[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]]
)
LABELS = {"background": 0, "ellipsoid": 1, "block": 2, "slab": 3}
BACKWARD = {(0, 1, 2): [0, 1, 2], (1, 0, 2): [1, 0, 2], (2, 0, 1): [1, 2, 0]}
RESAMPLING = {"is_seg": False, "order_z": 0, "force_separate_z": None}
SEGMENTATIONS = {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}


def plans(reader: str, forward: tuple[int, ...], spacing: tuple[float, ...]) -> dict:
    kinds = {"data": RESAMPLING | {"order": 3}, "seg": SEGMENTATIONS, "probabilities": RESAMPLING | {"order": 1}}
    functions = {f"resampling_fn_{kind}": "resample_data_or_seg_to_shape" for kind in kinds}
    settings = {
        "data_identifier": "cases",
        "architecture": {},
        "spacing": spacing,
        "patch_size": [16, 24, 24][-len(spacing) :],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
    }
    return {
        "plans_name": "nnUNetPlans",
        "image_reader_writer": reader,
        "label_manager": "LabelManager",
        "transpose_forward": forward,
        "transpose_backward": BACKWARD[forward],
        "original_median_spacing_after_transp": [3.0, 1.1, 0.8],
        "foreground_intensity_properties_per_channel": {"0": {}},
        "configurations": {
            "3d_fullres": settings | functions | {f"resampling_fn_{kind}_kwargs": kinds[kind] for kind in kinds}
        },
    }


class Dataset(NamedTuple):
    """Dataset989_Returned, whose labels are its supervoxels, and what was before."""

    folder: Path
    labels: sitk.Image
    plans: PlansManager

    @property
    def preprocessed(self) -> np.ndarray:
        """Labels (z, y, x) on the grid of the preprocessed case."""
        return blosc2.open(str(self.folder / "cases" / "case_seg.b2nd"))[0].clip(0)

    @property
    def properties(self) -> dict:
        return open_case(open_preprocessed(self.folder / "cases"), "case")[2]

    def way_back_of_nnunet(self, mask: np.ndarray, folder: Path) -> sitk.Image:
        """What nnU-Net makes of a prediction that is certain of a mask."""
        description = {"labels": {"background": 0, "supervoxel": 1}, "file_ending": ".nii.gz"}
        configuration = self.plans.get_configuration("3d_fullres")
        logits = np.stack([~mask, mask]).astype(np.float32)
        export_prediction_from_logits(
            logits, self.properties, configuration, self.plans, description, str(folder / "predicted")
        )
        return sitk.ReadImage(str(folder / "predicted.nii.gz"))


def write_image(path: Path, array: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    image.SetDirection(DIRECTION.ravel().tolist())
    sitk.WriteImage(image, str(path))
    return sitk.ReadImage(str(path))


def draw() -> tuple[np.ndarray, np.ndarray]:
    """Image and labels (z, y, x). The image's rim is 0, so that nnU-Net crops it."""
    z, y, x = np.indices(SHAPE)
    labels = np.zeros(SHAPE, np.uint8)
    labels[((z - 12) / 8) ** 2 + ((y - 14) / 10) ** 2 + ((x - 18) / 13) ** 2 < 1] = 1
    labels[6:18, 26:37, 24:44] = 2
    labels[8:16, 5:34, 33:45] = 3
    image = np.zeros(SHAPE, np.float32)
    image[2:22, 3:39, 4:49] = np.random.default_rng(0).random((20, 36, 45)) + 1
    return image, labels


def write_supervoxels(folder: Path, labels: np.ndarray) -> None:
    """Every label, and as the second of four the two first together, which contain others."""
    single = SupervoxelSet.of_labels(labels).supervoxels
    both = Supervoxel(PackedMask.of(np.isin(labels, (1, 2))), (0, 0, 0), axis=0, keyframe=5)
    supervoxels = SupervoxelSet(labels.shape, (single[0], both, *single[1:]))
    supervoxel_files.write_case(folder, "case", supervoxels, {}, (16, 24, 24))
    supervoxel_files.write_case(folder, "nothing", SupervoxelSet(labels.shape, ()), {}, (16, 24, 24))


@pytest.fixture
def make(nnunet_folders: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Dataset]]:
    """Preprocess the image as nnU-Net does, and store its labels as supervoxels."""
    folder = Path(nnunet_folders["nnUNet_preprocessed"]) / "Dataset989_Returned"

    def build(
        reader: str = "SimpleITKIO",
        forward: tuple[int, ...] = (2, 0, 1),
        spacing: tuple[float, ...] = (0.9, 2.2, 1.2),
    ) -> Dataset:
        image, labels = draw()
        write_image(tmp_path / "case_0000.nii.gz", image)
        original = write_image(tmp_path / "case.nii.gz", labels)
        content = plans(reader, forward, spacing)
        (folder / "cases").mkdir(parents=True)
        (folder / "nnUNetPlans.json").write_text(json.dumps(content))
        dataset = Dataset(folder, original, PlansManager(json.loads(json.dumps(content))))
        for case in ("case", "nothing"):
            DefaultPreprocessor(verbose=False).run_case_save(
                str(folder / "cases" / case),
                [str(tmp_path / "case_0000.nii.gz")],
                str(tmp_path / "case.nii.gz"),
                dataset.plans,
                dataset.plans.get_configuration("3d_fullres"),
                {"labels": LABELS, "file_ending": ".nii.gz"},
            )
        write_supervoxels(folder / "cases_supervoxels", dataset.preprocessed)
        return dataset

    yield build
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def to_nifti(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """The command in this process: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nnUNetv2_supervoxel_to_nifti", "-d", "989", *map(str, arguments)])
        return main(), *capsys.readouterr()

    return call


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def assert_same_geometry(one: sitk.Image, other: sitk.Image) -> None:
    """Of the first three axes."""
    axes = one.GetDimension()
    assert one.GetSize()[:3] == other.GetSize()
    np.testing.assert_allclose(one.GetSpacing()[:3], other.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(one.GetOrigin()[:3], other.GetOrigin(), atol=1e-4)
    direction = np.reshape(one.GetDirection(), (axes, axes))[:3, :3]
    np.testing.assert_allclose(direction.ravel(), other.GetDirection(), atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"reader": "SimpleITKIO", "forward": (2, 0, 1)},
        {"reader": "NibabelIO", "forward": (1, 0, 2)},
        {"reader": "NibabelIOWithReorient", "forward": (2, 0, 1), "spacing": (0.9, 1.3, 2.2)},
        {"reader": "SimpleITKIO", "forward": (0, 1, 2), "spacing": (1.3, 0.7)},
        {"reader": "SimpleITKIO", "forward": (1, 0, 2), "spacing": (1.1, 3.0, 0.8)},
    ],
    ids=["SimpleITK", "nibabel", "reoriented", "2d", "not resampled"],
)
def test_labels_come_back_as_nnunet_brings_back_predictions(
    make: Callable[..., Dataset], to_nifti: Callable, tmp_path: Path, settings: dict
) -> None:
    dataset = make(**settings)
    before, here = sitk.GetArrayFromImage(dataset.labels), dataset.preprocessed
    code, out, err = to_nifti("-o", tmp_path / "out")
    assert code == 0, err
    assert "2 cases: 1 written" in out
    assert "1 without supervoxels, 0 failed." in out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["case.nii.gz"]

    stack = sitk.ReadImage(str(tmp_path / "out" / "case.nii.gz"))
    assert stack.GetPixelID() == sitk.sitkUInt8
    assert stack.GetSize()[3] == 4
    assert_same_geometry(stack, dataset.labels)
    for volume, values in zip(sitk.GetArrayFromImage(stack), ((1,), (1, 2), (2,), (3,)), strict=True):
        assert set(np.unique(volume)) == {0, 1}
        predicted = dataset.way_back_of_nnunet(np.isin(here, values), tmp_path)
        assert_same_geometry(predicted, dataset.labels)
        np.testing.assert_array_equal(volume, sitk.GetArrayFromImage(predicted))
        assert dice(volume > 0, np.isin(before, values)) >= 0.95
    expected = nib.load(tmp_path / "case.nii.gz")  # what others than ITK read, too
    np.testing.assert_allclose(nib.load(tmp_path / "out" / "case.nii.gz").affine, expected.affine, atol=1e-4)


def test_one_label_map_shows_the_smaller_ones(make: Callable[..., Dataset], to_nifti: Callable, tmp_path: Path) -> None:
    dataset = make()
    assert to_nifti("-o", tmp_path / "stack")[0] == 0
    code, out, err = to_nifti("-o", tmp_path / "flat", "--flatten", "-cases", "case")
    assert code == 0, err
    assert "1 cases: 1 written" in out
    flat = sitk.ReadImage(str(tmp_path / "flat" / "case.nii.gz"))
    assert_same_geometry(flat, dataset.labels)
    ellipsoid, both, block, slab = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "stack" / "case.nii.gz"))) > 0
    expected = np.zeros(SHAPE, int)
    sizes = {1: ellipsoid, 2: both, 3: block, 4: slab}
    for label, mask in sorted(sizes.items(), key=lambda item: -item[1].sum()):
        expected[mask] = label
    np.testing.assert_array_equal(sitk.GetArrayFromImage(flat), expected)
    assert {1, 3, 4} <= set(np.unique(expected))
    assert (expected[ellipsoid & both & ~block & ~slab] == 1).all()


def test_supervoxels_that_are_too_small_for_the_original_grid_are_counted(
    make: Callable[..., Dataset], to_nifti: Callable, tmp_path: Path
) -> None:
    dataset = make()
    labels = dataset.preprocessed
    labels[labels == 3] = 0
    labels[1, 1, 1] = 3
    write_supervoxels(dataset.folder / "cases_supervoxels", labels)
    code, out, _ = to_nifti("-o", tmp_path / "out")
    assert code == 0
    assert "0 failed; 1 supervoxels are too small to have a voxel there." in out
    volumes = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "case.nii.gz")))
    assert [volume.any() for volume in volumes] == [True, True, True, False]


def test_files_that_are_there_stay_unless_they_may_be_replaced(
    make: Callable[..., Dataset], to_nifti: Callable, tmp_path: Path
) -> None:
    make()
    (tmp_path / "case.nii.gz").write_text("a scan")
    left = tmp_path / ".writing-of-a-run-that-was-killed"
    left.mkdir()
    os.utime(left, (0, 0))
    code, out, err = to_nifti("-o", tmp_path)
    assert code == 1
    assert "case.nii.gz is there already; --overwrite replaces it" in err
    assert "2 cases: 0 written" in out
    assert (tmp_path / "case.nii.gz").read_text() == "a scan"
    assert to_nifti("-o", tmp_path, "--overwrite")[0] == 0
    assert nib.load(tmp_path / "case.nii.gz").shape == (*SHAPE[::-1], 4)
    assert not left.exists()


def test_a_damaged_case_stops_no_other(make: Callable[..., Dataset], to_nifti: Callable, tmp_path: Path) -> None:
    folder = make().folder
    for part in ("cases", "cases_supervoxels"):
        for path in list((folder / part).glob("case*")):
            shutil.copy(path, path.with_name(path.name.replace("case", "a_bad_one", 1)))
    array = folder / "cases_supervoxels" / "a_bad_one.b2nd"
    array.write_bytes(array.read_bytes()[:-500])
    array.with_name("stray.b2nd").write_text("x")
    code, out, err = to_nifti("-o", tmp_path / "out")
    assert code == 1
    assert "a_bad_one failed: " in err
    assert "a_bad_one.b2nd" in err
    assert "unexpected" not in err
    assert "stray failed" not in err
    assert "Note: " in err
    assert "such as those of 'stray'; they are left out" in err
    assert "3 cases: 1 written" in out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["case.nii.gz"]


def test_originals_without_a_geometry_are_told(make: Callable[..., Dataset], tmp_path: Path) -> None:
    dataset = make()
    configuration = dataset.plans.get_configuration("3d_fullres")
    without = {key: value for key, value in dataset.properties.items() if key != "sitk_stuff"}
    geometry = OriginalGeometry(without, dataset.plans, configuration, (20, 30, 40))
    with pytest.raises(UserError, match="no geometry to go back to"):
        geometry.write(np.zeros(SHAPE, np.uint8), tmp_path / "mask.nii")
    del without["spacing"]
    with pytest.raises(UserError, match=r"lacks 'spacing'; preprocess the dataset again"):
        OriginalGeometry(without, dataset.plans, configuration, (20, 30, 40))
