"""Folders of unlabelled images as nnU-Net datasets."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel.files.raw_dataset import IGNORE, import_images
from nnunetv2_supervoxel.phantoms import make_phantom


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for number, shape in enumerate(((18, 28, 37), (20, 31, 24), (16, 30, 26))):
        image = sitk.GetImageFromArray(make_phantom(shape, np.random.default_rng(number)).image)
        image.SetSpacing((0.9, 1.1, 2.0))
        image.SetOrigin((4.0, -7.0, 3.0))
        sitk.WriteImage(image, str(folder / f"scan{number}.nii.gz"))
    (folder / "scan1.nii.gz").rename(folder / "scan1_0000.nii.gz")
    return folder


def documented_commands(dataset, target):
    """The documented way from unlabelled images to fine-tuning, with these dataset IDs."""
    page = (Path(__file__).parents[2] / "docs" / "how_to" / "fine_tune.md").read_text()
    (block,) = re.findall(r"## The whole way.*?```bash\n(.*?)```", page, re.DOTALL)
    ids = {"990": str(dataset), "7": str(target)}
    return [[ids.get(word, word) for word in shlex.split(line, comments=True)] for line in block.splitlines()]


def test_nnunet_preprocesses_an_imported_folder_with_plans_of_another(scans, run, nnunet_folders, prompt_dataset):
    (scans / "broken.nii.gz").write_bytes((scans / "scan0.nii.gz").read_bytes()[:500])
    before = {path: path.read_bytes() for path in scans.iterdir()}
    done = run("nnUNetv2_supervoxel_import", "-i", scans, "-d", 979)
    assert done.returncode == 1
    assert "broken failed" in done.stderr
    assert "3 cases, 1 failed" in done.stdout
    raw = Path(nnunet_folders["nnUNet_raw"]) / "Dataset979_Unlabelled"
    links = sorted((raw / "imagesTr").iterdir())
    assert [link.name for link in links] == [f"scan{number}_0000.nii.gz" for number in range(3)]
    assert all(link.is_symlink() for link in links)
    assert before == {path: path.read_bytes() for path in scans.iterdir()}
    for link in links:
        image, label = sitk.ReadImage(str(link)), sitk.ReadImage(str(raw / "labelsTr" / link.name.replace("_0000", "")))
        assert label.GetSize() == image.GetSize()
        assert label.GetOrigin() == image.GetOrigin()
        assert (sitk.GetArrayFromImage(label) == IGNORE).all()

    _, plan, move, preprocess, *_ = documented_commands(979, 997)
    for command in ([*plan, "-npfp", 1, "--verify_dataset_integrity"], move, [*preprocess, "-np", 1]):
        done = run(*command)
        assert done.returncode == 0, done.stderr
    folder = Path(nnunet_folders["nnUNet_preprocessed"]) / "Dataset979_Unlabelled"
    done = run("nnUNetv2_supervoxel_generate", "-d", 979, "-config", "tiny", "-device", "cpu")
    assert done.returncode == 0, done.stderr
    made = sorted(path.stem for path in (folder / "nnUNetPlans_3d_fullres_supervoxels").glob("*.json"))
    assert made == ["scan0", "scan1", "scan2"]
    plans = [json.loads((path / "nnUNetPlans.json").read_text()) for path in (folder, prompt_dataset)]
    assert plans[0]["configurations"] == plans[1]["configurations"]

    done = run("nnUNetv2_supervoxel_import", "-i", scans, "-d", 979, "-n", "Again")
    assert done.returncode == 1
    assert "has the number 979 already" in done.stderr


def test_folders_that_cant_be_imported(scans, tmp_path, run, nnunet_folders):
    (tmp_path / "empty").mkdir()
    sitk.WriteImage(sitk.ReadImage(str(scans / "scan0.nii.gz")), str(scans / "other.nrrd"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.nii.gz").write_bytes(b"no image")
    for folder, words in (
        (tmp_path / "nowhere", "no folder"),
        (tmp_path / "empty", "holds no file"),
        (scans, "several endings"),
        (tmp_path / "broken", "Not one case"),
    ):
        done = run("nnUNetv2_supervoxel_import", "-i", folder, "-d", 983)
        assert done.returncode == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    assert not list(Path(nnunet_folders["nnUNet_raw"]).glob("*983*"))
    assert not list(Path(nnunet_folders["nnUNet_raw"]).glob(".importing*"))
    assert run("nnUNetv2_supervoxel_import", "-i", scans, "-d", 0).returncode == 2
    (scans / "other.nrrd").unlink()
    done = run("nnUNetv2_supervoxel_import", "-i", scans, "-d", 983, "-n", "my/name")
    assert (done.returncode, done.stderr.strip()) == (
        1,
        "Error: 'my/name' can't be a dataset's name: letters, digits, _ and - can.",
    )


def test_files_named_like_channels_are_channels(scans, nnunet_folders):
    """scan1_0000 is there already; scan2 is no channel of anything, nor is what has a number for a name."""
    for name, like in (
        ("a_0000", "scan0"),
        ("a_0001", "scan0"),
        ("b_0000", "scan2"),
        ("b_0001", "scan2"),
        ("c_0000", "scan0"),
        ("c_0001", "scan2"),  # of another size
        ("d_0000", "scan0"),
        ("d_0002", "scan0"),  # one is missing
        ("e_2019", "scan2"),
        ("f_0000", "scan0"),
        ("f_0001", "scan0"),
    ):
        shutil.copy(scans / f"{like}.nii.gz", scans / f"{name}.nii.gz")
    folder, done, failures = import_images(scans, 982)
    assert done == 3
    assert sorted(failures) == ["c", "d", "e_2019", "scan0", "scan1", "scan2"]
    assert "different sizes" in failures["c"]
    assert "(d_0000.nii.gz, d_0002.nii.gz) are channel 0, 2, but most cases have 0, 1" in failures["d"]
    files = sorted(path.name for path in (folder / "imagesTr").iterdir())
    assert files == [f"{case}_000{channel}.nii.gz" for case in "abf" for channel in range(2)]
    assert all(link.resolve() == scans / link.name for link in (folder / "imagesTr").iterdir())
    assert sorted(path.name for path in (folder / "labelsTr").iterdir()) == [f"{case}.nii.gz" for case in "abf"]
    description = json.loads((folder / "dataset.json").read_text())
    assert description["channel_names"] == {"0": "image_0", "1": "image_1"}
    assert description["numTraining"] == 3


def test_names_that_nnunet_takes_for_segmentations_are_left_out(scans, nnunet_folders, monkeypatch, tmp_path):
    """nnU-Net's preprocessing would write the segmentation of scan0 and the image of scan0_seg into one file."""
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    shutil.copy(scans / "scan2.nii.gz", scans / "scan0_seg.nii.gz")
    shutil.copy(scans / "scan2.nii.gz", scans / "._scan2.nii.gz")  # macOS leaves such files, which are no cases
    folder, done, failures = import_images(scans, 7)
    assert done == 3
    assert list(failures) == ["scan0_seg"]
    assert "could replace that of 'scan0'; rename the image, or leave it out." in failures["scan0_seg"]
    assert sorted(path.name for path in (folder / "labelsTr").iterdir()) == [f"scan{i}.nii.gz" for i in range(3)]
