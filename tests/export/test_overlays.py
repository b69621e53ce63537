"""`nnUNetv2_supervoxel_plot_overlay_pngs` paints as nnU-Net's own overlays do."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image as png
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.utilities.overlay_plots import plot_overlay, plot_overlay_preprocessed

from nnunetv2_supervoxel import SupervoxelSet
from nnunetv2_supervoxel.commands import plot_overlay_pngs, to_nifti
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.files.preprocessed import open_case, open_preprocessed

DATASET = "Dataset997_Phantoms"
CASES = "nnUNetPlans_3d_fullres"


@pytest.fixture
def folder(prompt_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the phantoms, raw and preprocessed, that a test may change: the preprocessed dataset."""
    shutil.copytree(Path(os.environ["nnUNet_raw"]) / DATASET, tmp_path / "raw" / DATASET)
    shutil.copytree(prompt_dataset, tmp_path / "preprocessed" / DATASET)
    for name in ("raw", "preprocessed"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    return tmp_path / "preprocessed" / DATASET


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """A command in this process: exit code, standard output, standard error."""

    def call(main: Callable[[], int], *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["command", "-d", DATASET, *map(str, arguments)])
        return main(), *capsys.readouterr()

    return call


def voxel_by_voxel(picture: Path) -> np.ndarray:
    """A picture without its enlargement, which has to be of squares of one colour."""
    pixels = png.imread(picture)
    factor = np.gcd.reduce([*pixels.shape[:2], *(np.flatnonzero(np.diff(pixels, axis=1).any(axis=(0, 2))) + 1)])
    small = pixels[::factor, ::factor]
    np.testing.assert_array_equal(small.repeat(factor, axis=0).repeat(factor, axis=1), pixels)
    assert max(pixels.shape) >= 512 > max(pixels.shape) - max(small.shape)  # and no larger than needed
    return small


class Labelled:
    """What nnU-Net takes for a dataset: one case, with the supervoxels as its labels."""

    def __init__(self, folder: Path, case: str) -> None:
        self._image = open_case(open_preprocessed(folder / CASES), case)[0]
        stack = supervoxel_files.open_array(folder / f"{CASES}_supervoxels", case)[:]
        self._labels = (stack * np.arange(1, len(stack) + 1, dtype=np.uint8)[:, None, None, None]).max(axis=0)

    def load_case(self, _: str) -> tuple:
        return self._image[:], self._labels[None], None, {}


def test_preprocessed_cases_look_as_nnunet_paints_labels(folder: Path, call: Callable, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, printed, err = call(plot_overlay_pngs.main, "-o", out, "-np", 1, "-overlay_intensity", 0.8)
    assert code == 0, err
    assert f"4 cases: 4 plotted in {out}, 0 without supervoxels, 0 failed." in printed
    assert sorted(path.name for path in out.iterdir()) == [f"case{number}.png" for number in range(4)]
    (tmp_path / "nnunet").mkdir()
    for number in range(4):
        case = f"case{number}"
        plot_overlay_preprocessed(Labelled(folder, case), case, str(tmp_path / "nnunet"), 0.8)
        np.testing.assert_array_equal(
            voxel_by_voxel(out / f"{case}.png"), png.imread(tmp_path / "nnunet" / f"{case}.png")
        )
    colours = png.imread(out / "case0.png")[..., :3]
    assert (np.ptp(colours, axis=-1) > 0.2).any()  # painted, not grey alone


def test_only_the_cases_named_are_painted(folder: Path, call: Callable, tmp_path: Path) -> None:
    code, printed, err = call(plot_overlay_pngs.main, "-o", tmp_path / "out", "-cases", "case2", "case0", "case2")
    assert code == 0, err
    assert "2 cases: 2 plotted" in printed
    assert sorted(os.listdir(tmp_path / "out")) == ["case0.png", "case2.png"]
    code, _, err = call(plot_overlay_pngs.main, "-o", tmp_path / "none", "-cases", "case9")
    assert code == 1
    assert "There is no case 'case9' among the preprocessed ones with supervoxels" in err
    assert not (tmp_path / "none").exists()


def test_original_images_look_as_nnunet_paints_labels(folder: Path, call: Callable, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert call(to_nifti.main, "-o", tmp_path / "flat", "--flatten")[0] == 0
    code, printed, err = call(plot_overlay_pngs.main, "-o", out, "-np", 2, "--use_raw")
    assert code == 0, err
    assert "4 cases: 4 plotted" in printed
    scan = tmp_path / "raw" / DATASET / "imagesTr" / "case1_0000.nii.gz"
    labels = tmp_path / "flat" / "case1.nii.gz"
    plot_overlay(str(scan), str(labels), SimpleITKIO(), str(tmp_path / "nnunet.png"))
    np.testing.assert_array_equal(voxel_by_voxel(out / "case1.png"), png.imread(tmp_path / "nnunet.png"))


def test_bad_cases_stop_no_other(folder: Path, call: Callable, tmp_path: Path) -> None:
    array = folder / f"{CASES}_supervoxels" / "case2.b2nd"
    array.write_bytes(array.read_bytes()[:-300])
    (tmp_path / "raw" / DATASET / "imagesTr" / "case0_0000.nii.gz").unlink()
    scan = tmp_path / "raw" / DATASET / "imagesTr" / "case1_0000.nii.gz"
    scan.write_bytes(scan.read_bytes()[:2000])
    supervoxels = SupervoxelSet(supervoxel_files.open_array(folder / f"{CASES}_supervoxels", "case3").shape[1:], ())
    supervoxel_files.write_case(folder / f"{CASES}_supervoxels", "empty", supervoxels, {}, (16, 24, 32))
    for path in (folder / CASES).glob("case3*"):
        shutil.copy(path, path.with_name(path.name.replace("case3", "empty")))
    shutil.copy(scan.with_name("case3_0000.nii.gz"), scan.with_name("empty_0000.nii.gz"))
    code, printed, err = call(plot_overlay_pngs.main, "-o", tmp_path / "out", "-np", 1, "--use_raw")
    assert code == 1
    assert "5 cases: 1 plotted" in printed
    assert "1 without supervoxels, 3 failed." in printed
    assert "case0 failed: the raw dataset has no image of it" in err
    assert "case1_0000.nii.gz is damaged" in err
    assert "case2.b2nd can't be opened" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["case3.png"]


def test_more_supervoxels_than_colours(folder: Path, call: Callable, tmp_path: Path) -> None:
    shape = supervoxel_files.open_array(folder / f"{CASES}_supervoxels", "case0").shape[1:]
    labels = np.zeros(shape, np.uint8)
    labels[4:9, 5:8, : 2 * 17] = 1 + np.arange(2 * 17) // 2
    supervoxel_files.write_case(
        folder / f"{CASES}_supervoxels", "case0", SupervoxelSet.of_labels(labels), {}, (16, 24, 32)
    )
    code, _, err = call(plot_overlay_pngs.main, "-o", tmp_path / "out", "-np", 1)
    assert code == 0, err
    row = voxel_by_voxel(tmp_path / "out" / "case0.png")[6, : 2 * 17, :3]
    assert (np.ptp(row, axis=-1) > 0.02).all()  # not one without a colour


def test_mistakes_are_told(folder: Path, call: Callable, tmp_path: Path) -> None:
    code, _, err = call(plot_overlay_pngs.main, "-o", tmp_path / "out", "-channel_idx", 1)
    assert code == 1
    assert "has 1 image channel(s), counted from 0, so there is no 1." in err
    shutil.rmtree(tmp_path / "raw")
    code, _, err = call(plot_overlay_pngs.main, "-o", tmp_path / "out", "--use_raw")
    assert code == 1
    assert "isn't a raw dataset that nnU-Net can read" in err
    assert not (tmp_path / "out").exists()
