"""Shared material, made by the commands.

Two datasets: the MNI152 template with supervoxels from the tiny checkpoints, and phantoms whose true objects are stored
as supervoxels.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from nnunetv2.run.run_training import get_trainer_from_args
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_supervoxel import GenerationConfig, SupervoxelGenerator, load_config
from nnunetv2_supervoxel.config import PromptTrainingConfig, find_config
from nnunetv2_supervoxel.export.nninteractive import export_nninteractive
from nnunetv2_supervoxel.export.trained_model import TrainedModel
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet
from nnunetv2_supervoxel.package_data import package_folder
from nnunetv2_supervoxel.phantoms import make_phantom

REPOSITORY = Path(__file__).parents[1]

_THREADS = torch.get_num_threads()

Run = Callable[..., subprocess.CompletedProcess]

PHANTOM_DATASET = "Dataset997_Phantoms"
PHANTOM_SHAPE = (18, 28, 37)
PHANTOM_SPACING = (1.0, 1.0, 2.0)  # x, y, z
PHANTOM_CASES = 5
PHANTOM_PATCH = (16, 24, 32)

VARIED_DATASET = "Dataset995_Varied"
VARIED_CASES = {  # shape (z, y, x) in voxels, spacing (x, y, z) in mm
    "one": ((18, 28, 37), (1.0, 1.0, 2.0)),
    "other": ((20, 26, 33), (0.8, 0.9, 3.0)),
    "another": ((17, 30, 35), (1.5, 1.5, 1.5)),
}


@pytest.fixture(scope="session")
def nnunet_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment with nnU-Net's three folders, in effect for the session."""
    root = tmp_path_factory.mktemp("nnunet")
    variables = {name: str(root / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    for folder in variables.values():
        Path(folder).mkdir()
    os.environ.update(variables)
    return variables


@pytest.fixture(scope="session")
def run(nnunet_folders: dict[str, str]) -> Run:
    """Call one of the environment's commands, as a user would: `run("nnUNetv2_supervoxel_generate", "-d", "990")`."""

    def call(command: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(Path(sys.executable).parent / command), *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "ignore", **environment},
            timeout=900,
            check=False,
        )

    return call


def load_script(name: str) -> object:
    """A module from scripts/."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def preprocessed(nnunet_folders: dict[str, str], run: Run) -> Path:
    """Dataset990_MNI152Demo with three cases, after nnUNetv2_plan_and_preprocess."""
    load_script("demo_dataset").build(Path(nnunet_folders["nnUNet_raw"]) / "Dataset990_MNI152Demo", 3, seed=0)
    done = run("nnUNetv2_plan_and_preprocess", "-d", 990, "-c", "3d_fullres", "-np", 1, "-npfp", 1)
    assert done.returncode == 0, done.stderr
    return Path(nnunet_folders["nnUNet_preprocessed"]) / "Dataset990_MNI152Demo"


@pytest.fixture(scope="session")
def generated(preprocessed: Path, run: Run) -> Path:
    """The dataset's supervoxel folder, as nnUNetv2_supervoxel_generate leaves it."""
    done = run("nnUNetv2_supervoxel_generate", "-d", 990, "-config", "tiny_brain", "-device", "cpu")
    assert done.returncode == 0, done.stderr
    return preprocessed / "nnUNetPlans_3d_fullres_supervoxels"


@pytest.fixture(scope="session")
def tiny_config() -> GenerationConfig:
    return load_config(find_config("tiny"), GenerationConfig)


@pytest.fixture(scope="session")
def generator(tiny_config: GenerationConfig) -> SupervoxelGenerator:
    return SupervoxelGenerator(tiny_config, "cpu")


@pytest.fixture(scope="session")
def brain_config() -> GenerationConfig:
    return load_config(find_config("tiny_brain"), GenerationConfig)


@pytest.fixture(scope="session")
def brain_generator(brain_config: GenerationConfig) -> SupervoxelGenerator:
    return SupervoxelGenerator(brain_config, "cpu")


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """Every test draws the same numbers in every run, whichever tests ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _same_number_of_threads() -> Iterator[None]:
    """nnU-Net's predictions in this process leave another number behind, with which PyTorch rounds differently."""
    torch.set_num_threads(_THREADS)
    yield
    torch.set_num_threads(_THREADS)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def prompt_dataset(nnunet_folders, run) -> Path:
    """The dataset's preprocessed folder; configurations 3d_tiny and 3d_wide (a patch larger than the images).

    The last of the cases has no supervoxels.
    """
    _write_phantoms(Path(nnunet_folders["nnUNet_raw"]) / PHANTOM_DATASET)
    done = run("nnUNetv2_plan_and_preprocess", "-d", 997, "-c", "3d_fullres", "-np", 1, "-npfp", 1)
    assert done.returncode == 0, done.stderr
    folder = Path(nnunet_folders["nnUNet_preprocessed"]) / PHANTOM_DATASET
    _add_configurations(folder / "nnUNetPlans.json")
    for number in range(PHANTOM_CASES - 1):
        write_true_objects(folder / "nnUNetPlans_3d_fullres_supervoxels", number)
    return folder


@pytest.fixture(scope="session")
def start_folder(prompt_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder for nnInteractive with an untrained network: points of radius 3, scribbles 3 voxels thick."""
    plans = json.loads((prompt_dataset / "nnUNetPlans.json").read_text())
    manager = PlansManager(plans)
    torch.manual_seed(5)
    network = nnUNetTrainer.build_network_architecture(manager, manager.get_configuration("3d_tiny"), 8, 2, True)
    prompts = PromptTrainingConfig(
        interaction_decay=0.9, point_radius=3, scribble_thickness=3, interactions={"point": 1, "scribble": 1}
    )
    dataset_json = json.loads((prompt_dataset / "dataset.json").read_text())
    model = TrainedModel("0", "3d_tiny", plans, dataset_json, network.state_dict(), prompts, None)
    folder = tmp_path_factory.mktemp("start") / "model"
    export_nninteractive(model, folder, "CC BY-NC-SA 4.0\nThe whole text.")
    return folder


@pytest.fixture(scope="session")
def varied_dataset(nnunet_folders, run) -> Path:
    """The preprocessed folder of a dataset of phantoms with different voxel sizes, planned but not preprocessed."""
    raw = Path(nnunet_folders["nnUNet_raw"]) / VARIED_DATASET
    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir(parents=True)
    for name, (shape, spacing) in VARIED_CASES.items():
        phantom = make_phantom(shape, np.random.default_rng(len(name)))
        _write_case(raw, name, phantom, spacing)
    _describe(raw, len(VARIED_CASES))
    done = run("nnUNetv2_plan_and_preprocess", "-d", 995, "--no_pp", "-npfp", 1)
    assert done.returncode == 0, done.stderr
    return Path(nnunet_folders["nnUNet_preprocessed"]) / VARIED_DATASET


@pytest.fixture(scope="session")
def prepared(varied_dataset: Path, start_folder: Path, run) -> Path:
    """The varied dataset, prepared for training on from the model folder, with true objects as supervoxels."""
    done = run("nnUNetv2_supervoxel_start_from", "-m", start_folder, "-d", 995)
    assert done.returncode == 0, done.stderr
    (varied_dataset / "said.txt").write_text(done.stdout)
    done = run("nnUNetv2_preprocess", "-d", 995, "-p", "nnUNetPlans_nninteractive", "-c", "3d_fullres", "-np", 1)
    assert done.returncode == 0, done.stderr
    for name, (shape, _) in VARIED_CASES.items():
        labels = make_phantom(shape, np.random.default_rng(len(name))).labels
        folder = varied_dataset / "nnUNetPlans_nninteractive_3d_fullres_supervoxels"
        supervoxel_files.write_case(folder, name, SupervoxelSet.of_labels(labels, 40), {}, PHANTOM_PATCH)
    return varied_dataset


@pytest.fixture
def training_settings(prompt_dataset, nnunet_folders, monkeypatch, tmp_path):
    """Set up the environment for a short training; call it to write its settings, it returns the results' folder."""
    results, config = tmp_path / "results", tmp_path / "prompt_training.yaml"
    results.mkdir()
    monkeypatch.setenv("nnUNet_results", str(results))
    monkeypatch.setenv("nnUNet_extTrainer", str(package_folder("trainers")))
    monkeypatch.setenv("nnUNet_compile", "f")
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setenv("nnUNet_supervoxel_training_config", str(config))

    def write(**settings) -> Path:
        short = {"num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 2, "min_target_voxels": 30}
        config.write_text(json.dumps(short | settings))  # JSON is YAML
        return results / PHANTOM_DATASET

    return write


@pytest.fixture
def prompt_training(training_settings):
    """A short training of SupervoxelPromptTrainer; call it to change settings: `prompt_training(max_rounds=3)`."""

    def configure(**settings) -> Path:
        return training_settings(**{"max_rounds": 2, "validation_objects_per_case": 2} | settings)

    configure()
    return configure


@pytest.fixture
def pretraining(training_settings):
    """A short training of SupervoxelPretrainTrainer; call it to change settings: `pretraining(num_epochs=2)`."""
    training_settings()
    return training_settings


@pytest.fixture
def make_trainer(request, training_settings):
    """Make trainers as nnUNetv2_train does, on the CPU: `make_trainer(configuration="3d_wide")`."""

    if "pretraining" not in request.fixturenames:
        request.getfixturevalue("prompt_training")

    def make(name="SupervoxelPromptTrainer", configuration="3d_tiny", fold="all", initialize=True):
        trainer = get_trainer_from_args("997", configuration, fold, name, device=torch.device("cpu"))
        if initialize:
            trainer.initialize()
        return trainer

    return make


def write_true_objects(folder: Path, number: int, smallest: int = 40) -> None:
    """Store a case's visible regions as supervoxels."""
    objects = SupervoxelSet.of_labels(_phantom(number).labels, smallest)
    supervoxel_files.write_case(folder, f"case{number}", objects, {}, PHANTOM_PATCH)


def _phantom(number):
    return make_phantom(PHANTOM_SHAPE, np.random.default_rng(number))


def _write_phantoms(folder: Path) -> None:
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for number in range(PHANTOM_CASES):
        _write_case(folder, f"case{number}", _phantom(number), PHANTOM_SPACING)
    _describe(folder, PHANTOM_CASES)


def _write_case(folder: Path, case: str, phantom, spacing) -> None:
    labels = np.where(phantom.labels > 0, 1 + phantom.labels % 2, 0).astype(np.uint8)
    for name, array in ((f"imagesTr/{case}_0000", phantom.image), (f"labelsTr/{case}", labels)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(spacing)
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))


def _describe(folder: Path, cases: int) -> None:
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "even": 1, "odd": 2},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def _add_configurations(path: Path) -> None:
    plans = json.loads(path.read_text())
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    architecture["arch_kwargs"] |= {
        "n_stages": 3,
        "features_per_stage": [8, 16, 16],
        "kernel_sizes": [[3, 3, 3]] * 3,
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        "n_conv_per_stage": [1] * 3,
        "n_conv_per_stage_decoder": [1] * 2,
    }
    tiny = {"inherits_from": "3d_fullres", "batch_size": 2, "architecture": architecture}
    plans["configurations"]["3d_tiny"] = {**tiny, "patch_size": PHANTOM_PATCH}
    plans["configurations"]["3d_wide"] = {**tiny, "patch_size": (24, 32, 40), "batch_dice": True}  # as for large images
    path.write_text(json.dumps(plans))
