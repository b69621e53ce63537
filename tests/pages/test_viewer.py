"""What the viewer gets is what is on disk."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nnunetv2_supervoxel import SupervoxelSet, UserError
from nnunetv2_supervoxel.files.supervoxel_files import write_case
from nnunetv2_supervoxel.pages import viewer
from nnunetv2_supervoxel.pages.entries import CaseToShow, cases_to_show
from nnunetv2_supervoxel.pages.viewer import coarser, viewer_content
from nnunetv2_supervoxel.quality.inputs import EvaluatedDataset, find_dataset
from nnunetv2_supervoxel.quality.reading import read_supervoxels

SHAPE = (12, 40, 58)


def image_in(content: dict) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(content["image"])))


def masks_in(content: dict, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Painted as the page's script paints them: runs in the order of the image file, in which x is fastest."""
    runs = np.frombuffer(gzip.decompress(base64.b64decode(content["runs"])), "<u4").reshape(-1, 2)
    masks, passed = [], 0
    for one in content["supervoxels"]:
        flat = np.zeros(np.prod(shape), bool)
        for start, stop in runs[passed : passed + one["runs"]]:
            flat[start:stop] = True
        masks.append(flat.reshape(shape))
        passed += one["runs"]
    assert passed == len(runs)
    return masks


def test_image_and_supervoxels_come_through(cases: dict[str, CaseToShow], dataset: EvaluatedDataset) -> None:
    content = viewer_content(cases["a1"])
    levels = cases["a1"].read()[0]
    image = image_in(content)
    np.testing.assert_array_equal(np.asarray(image.dataobj).transpose(), levels)
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_allclose(image.affine, np.diag([-0.9, -0.7, 2.5, 1]))
    truth = read_supervoxels(dataset.supervoxels, "a1", SHAPE)
    for mask, expected in zip(masks_in(content, SHAPE), truth.to_array() > 0, strict=True):
        np.testing.assert_array_equal(mask, expected)
    assert [one["voxels"] for one in content["supervoxels"]] == [one.voxels for one in truth.supervoxels]
    assert content["step"] == (1, 1, 1)


@pytest.mark.parametrize("step", [(1, 1, 1), (2, 1, 3)])
def test_masks_full_of_holes_come_through(folder: Path, monkeypatch: pytest.MonkeyPatch, step: tuple) -> None:
    labels = np.random.default_rng(0).integers(0, 3, SHAPE)
    labels[0] = labels[:, :5] = 0  # the boxes don't begin where the volume does
    write_case(folder / "cases_supervoxels", "a1", SupervoxelSet.of_labels(labels), {})
    monkeypatch.setattr(viewer, "coarser", lambda *_: step)
    changed = cases_to_show(find_dataset(985, "nnUNetPlans", "3d_fullres", None), (0, 1, 2))
    some = tuple(slice(None, None, every) for every in step)
    masks = masks_in(viewer_content(changed[0]), labels[some].shape)
    for label, mask in enumerate(masks, 1):
        np.testing.assert_array_equal(mask, labels[some] == label)
    assert len(masks) == 2


def test_of_a_large_image_some_voxels_are_shown(
    cases: dict[str, CaseToShow], dataset: EvaluatedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer, "coarser", lambda *_: (1, 3, 2))
    content = viewer_content(cases["a1"])
    some = (slice(None), slice(None, None, 3), slice(None, None, 2))
    image = image_in(content)
    np.testing.assert_array_equal(np.asarray(image.dataobj).transpose(), cases["a1"].read()[0][some])
    np.testing.assert_allclose(image.affine, np.diag([-1.8, -2.1, 2.5, 1]))
    truth = read_supervoxels(dataset.supervoxels, "a1", SHAPE).to_array() > 0
    for mask, expected in zip(masks_in(content, (12, 14, 29)), truth, strict=True):
        np.testing.assert_array_equal(mask, expected[some])


def test_the_centre_is_a_voxel_of_the_supervoxel_on_its_keyframe(
    cases: dict[str, CaseToShow], dataset: EvaluatedDataset
) -> None:
    content = viewer_content(cases["a1"])
    inverse = np.linalg.inv(image_in(content).affine)
    truth = read_supervoxels(dataset.supervoxels, "a1", SHAPE)
    for one, mask, made in zip(content["supervoxels"], truth.to_array(), truth.supervoxels, strict=True):
        z, y, x = np.rint((inverse @ [*one["centre"], 1])[:3]).astype(int)[::-1]
        assert mask[z, y, x]
        assert (z, y, x)[made.axis] == made.keyframe


def test_an_empty_case_is_an_image(cases: dict[str, CaseToShow]) -> None:
    content = viewer_content(cases["empty"])
    assert content["supervoxels"] == []
    assert image_in(content).shape == SHAPE[::-1]


def test_a_damaged_case_is_refused(cases: dict[str, CaseToShow]) -> None:
    with pytest.raises(UserError, match="damaged"):
        viewer_content(cases["damaged"])


def test_the_finest_axes_become_coarser() -> None:
    assert coarser((100, 200, 300), (1.0, 1.0, 1.0), most=6_000_000) == (1, 1, 1)
    assert coarser((20, 512, 512), (5.0, 0.5, 0.5), most=1 << 20) == (1, 3, 2)
    assert coarser((20, 512, 512), (5.0, 0.5, 0.5), most=20 * 128 * 128) == (1, 4, 4)
