"""nnUNetv2_supervoxel_start_from: the plans that it writes, what it says, and mistakes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import yaml
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunetv2_supervoxel.commands.start_from import main
from nnunetv2_supervoxel.files.raw_dataset import NOTHING_LABELLED

PLANS = "nnUNetPlans_nninteractive"


@pytest.fixture
def call(monkeypatch, capsys):
    """Call the command in this process: exit code, what it printed, and its errors."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["nnUNetv2_supervoxel_start_from", *map(str, arguments)])
        capsys.readouterr()
        return main(), *capsys.readouterr()

    return run


def test_plans_and_settings(prepared, start_folder):
    own = json.loads((prepared / "nnUNetPlans.json").read_text())
    plans = json.loads((prepared / f"{PLANS}.json").read_text())
    assert plans["plans_name"] == PLANS
    assert plans["dataset_name"] == own["dataset_name"]
    (settings,) = plans["configurations"].values()
    models = json.loads((start_folder / "plans.json").read_text())["configurations"]["3d_tiny"]
    assert settings["architecture"] == models["architecture"]
    assert (settings["patch_size"], settings["batch_size"]) == ([16, 24, 32], 2)
    assert yaml.safe_load((prepared / f"{PLANS}.yaml").read_text()) == {
        "start_from": str(start_folder),
        "real_label_fraction": 0.5,
    }


def test_what_differs_is_said(prepared):
    said = (prepared / "said.txt").read_text()
    for words in (
        "Network: PlainConvUNet with 8/16/16 features",
        "Patch: 16 x 24 x 32 voxels, where the own plans have",
        "Voxel size: images keep their own",
        "Licence of the model, and so of what you train from it: CC BY-NC-SA 4.0.",
        f"nnUNetv2_preprocess -d 995 -p {PLANS} -c 3d_fullres",
        f"nnUNetv2_train 995 3d_fullres all -tr SupervoxelPromptTrainer -p {PLANS}",
    ):
        assert words in said


def test_nnunet_preprocesses_without_resampling(prepared, nnunet_folders):
    folder = prepared / f"{PLANS}_3d_fullres"
    cases = nnUNetDatasetBlosc2(str(folder))
    assert len(cases.identifiers) == 3
    for name in cases.identifiers:
        image, *_, properties = cases.load_case(name)
        raw = Path(nnunet_folders["nnUNet_raw"]) / prepared.name / "imagesTr" / f"{name}_0000.nii.gz"
        original = sitk.GetArrayFromImage(sitk.ReadImage(str(raw)))
        assert image.shape == (1, *original.shape)
        np.testing.assert_allclose(image[0], (original - original.mean()) / original.std(), atol=1e-4)
        assert properties["spacing"] == pytest.approx(sitk.ReadImage(str(raw)).GetSpacing()[::-1])


def test_nothing_is_replaced_unless_asked(prepared, start_folder, call):
    before = {path: path.read_bytes() for path in prepared.glob(f"{PLANS}.*")}
    code, _, errors = call("-m", start_folder, "-d", 995)
    assert code == 1
    assert "is there already" in errors
    assert "--overwrite" in errors
    assert {path: path.read_bytes() for path in prepared.glob(f"{PLANS}.*")} == before
    (prepared / f"{PLANS}.yaml").write_text("changed: 1")
    assert call("-m", start_folder, "-d", 995, "--overwrite")[0] == 0
    assert {path: path.read_bytes() for path in prepared.glob(f"{PLANS}.*")} == before


def test_labels_of_images_that_nobody_labelled_do_not_count(prepared, start_folder, call):
    path = prepared / "dataset.json"
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | {"labels": NOTHING_LABELLED}))
    code, _, _ = call("-m", start_folder, "-d", 995, "-p", "unlabelled")
    path.write_text(before)
    assert code == 0
    assert yaml.safe_load((prepared / "unlabelled.yaml").read_text())["real_label_fraction"] == 0


def test_little_memory_means_small_batches(prepared, start_folder, call):
    code, said, _ = call("-m", start_folder, "-d", 995, "-p", "small", "-gpu_memory_target", 0.001)
    assert code == 0
    plans = json.loads((prepared / "small.json").read_text())
    assert plans["configurations"]["3d_fullres"]["batch_size"] == 1
    assert "Memory: by nnU-Net's estimate even one patch needs" in said


def test_mistakes(prepared, start_folder, call, tmp_path):
    two = Path(shutil.copytree(start_folder, tmp_path / "two"))
    (two / "fold_0" / "checkpoint_final.pth").write_bytes(b"")
    channels = json.loads((prepared / "dataset.json").read_text()) | {"channel_names": {"0": "T1", "1": "T2"}}
    other = prepared.with_name("Dataset984_TwoChannels")
    other.mkdir()
    for name in ("nnUNetPlans.json", "dataset_fingerprint.json"):
        shutil.copy(prepared / name, other)
    (other / "dataset.json").write_text(json.dumps(channels))
    for arguments, words in (
        (("-m", tmp_path, "-d", 995, "-p", "new"), "isn't a model folder"),
        (("-m", two, "-d", 995, "-p", "new"), "is damaged"),
        (("-m", start_folder, "-d", 981, "-p", "new"), "There is no dataset 981"),
        (("-m", start_folder, "-d", 995, "-p", "new", "-sp", "ours"), "isn't preprocessed with plans 'ours'"),
        (("-m", start_folder, "-d", 984, "-p", "new"), "takes images of 1 channel(s), but"),
    ):
        code, _, errors = call(*arguments)
        assert code == 1, arguments
        assert words in errors
        assert len(errors.strip().splitlines()) == 1
    assert not list(prepared.glob("new.*")) + list(other.glob("new.*"))
    shutil.rmtree(other)
