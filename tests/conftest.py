"""Shared material: a real dataset from the MNI152 template, preprocessed and made into supervoxels by the commands."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_supervoxel import GenerationConfig, SupervoxelGenerator, load_config
from nnunetv2_supervoxel.shipped import find_config

REPOSITORY = Path(__file__).parents[1]

Run = Callable[..., subprocess.CompletedProcess]


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
    done = run("nnUNetv2_supervoxel_generate", "-d", 990, "-config", "tiny", "-device", "cpu")
    assert done.returncode == 0, done.stderr
    return preprocessed / "nnUNetPlans_3d_fullres_supervoxels"


@pytest.fixture(scope="session")
def tiny_config() -> GenerationConfig:
    return load_config(find_config("tiny"), GenerationConfig)


@pytest.fixture(scope="session")
def generator(tiny_config: GenerationConfig) -> SupervoxelGenerator:
    return SupervoxelGenerator(tiny_config, "cpu")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
