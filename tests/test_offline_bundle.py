"""scripts/offline_bundle.sh: its file works where only those packages are that servers_without_network.md names.

That place is a virtual environment with links to those packages, and to what they need.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel.phantoms import make_phantom

SCRIPTS = Path(__file__).parents[1] / "scripts"
MUST_BE_THERE = (
    "torch",
    "torchvision",
    "numpy",
    "opencv-python-headless",
    "scipy",
    "scikit-image",
    "scikit-learn",
    "pandas",
    "matplotlib",
)
HERE = f"3.{sys.version_info.minor}"
ANOTHER = "3.12" if HERE == "3.11" else "3.11"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="bundles are for Linux")


def pack(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(SCRIPTS / "offline_bundle.sh"), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "SUPERVOXEL_VENV": sys.prefix, **environment},
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="module")
def packing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pack", SCRIPTS / "offline_bundle" / "pack.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, packing: ModuleType) -> Path:
    """An interpreter that sees what that page wants a machine to have."""
    return packing.make_machine(tmp_path_factory.mktemp("machine") / "venv", MUST_BE_THERE)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the file holds, unpacked."""
    folder = tmp_path_factory.mktemp("bundle")
    file = folder / "bundle.tar.xz"
    done = pack(file, "--with", "tiny_checkpoints", "--level", "0")
    assert done.returncode == 0, done.stderr
    assert "MB" in done.stdout
    assert all(name in done.stdout for name in MUST_BE_THERE)
    assert os.listdir(folder) == ["bundle.tar.xz"]
    assert file.stat().st_size < 75e6  # with --level 6 and without the tiny checkpoints: under 50 MB
    subprocess.run(["tar", "xf", file], cwd=folder, check=True)
    file.unlink()
    return folder / "nnunetv2_supervoxel_offline"


def call(machine: Path, *command: object, **environment: str) -> subprocess.CompletedProcess:
    """Call a program where `python3` is that interpreter, with nothing else of ours in the environment."""
    environment = {"PATH": f"{machine.parent}:{os.defpath}", "HOME": str(machine.parent), **environment}
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=environment, cwd=machine.parent, check=False
    )


def test_a_folder_of_images_becomes_supervoxels(bundle: Path, machine: Path, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(make_phantom((10, 64, 72), np.random.default_rng(1)).image.astype(np.float32))
    (tmp_path / "scans").mkdir()
    sitk.WriteImage(image, str(tmp_path / "scans" / "scan.nii.gz"))
    done = call(machine, bundle / "bin/SuperVoxel_generate", "-i", tmp_path / "scans", "-c", "tiny", "-device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "1 cases: 1 made" in done.stdout
    assert sorted(os.listdir(tmp_path / "supervoxel")) == ["scan.json", "scan.nii.gz"]
    masks = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "supervoxel" / "scan.nii.gz")))
    assert masks.shape[-3:] == (10, 64, 72)
    assert set(np.unique(masks)) == {0, 1}
    assert json.loads((tmp_path / "supervoxel" / "scan.json").read_text())["supervoxels"]


def test_with_pythonpath_alone_modules_come_from_the_bundle(bundle: Path, machine: Path) -> None:
    """Except what the machine must have, and Python's own."""
    code = """
import argparse, cc3d, cv2, json, nnunetv2, nnunetv2_supervoxel, sam2, segment_anything, SimpleITK, sys, torch
print(json.dumps({name: getattr(module, "__file__", None) for name, module in sys.modules.items()}))
"""
    done = call(machine, machine, "-c", code, PYTHONPATH=str(bundle))
    assert done.returncode == 0, done.stderr
    files = json.loads(done.stdout)
    packed = ("cc3d", "sam2", "segment_anything", "SimpleITK", "nnunetv2", "nnunetv2_supervoxel")
    assert all(files[name].startswith(f"{bundle}/") for name in packed)
    assert not any(files[name].startswith(f"{bundle}/") for name in ("argparse", "cv2", "torch"))
    done = call(machine, bundle / "bin/nnUNetv2_supervoxel_trainers")
    assert done.stdout == f"{bundle}/nnunetv2_supervoxel/trainers\n"
    assert (bundle / "nnunetv2_supervoxel/trainers/SupervoxelPromptTrainer.py").is_file()


def test_commands_explain_themselves(bundle: Path, machine: Path) -> None:
    for command in ("nnUNetv2_supervoxel_generate", "SuperVoxel_save_fg_location"):
        done = call(machine, bundle / "bin" / command, "-h")
        assert done.returncode == 0, done.stderr
        assert f"usage: {command}" in done.stdout


def test_what_is_missing_is_named(bundle: Path, machine: Path) -> None:
    packages = ("yaml", *(path.name for path in bundle.glob("pyyaml-*.dist-info")))
    for name in packages:
        (bundle / name).rename(bundle.with_name(name))
    try:
        checked = call(machine, bundle / "bin/check_bundle")
        called = call(machine, bundle / "bin/SuperVoxel_generate", "-i", ".", "-c", "tiny")
    finally:
        for name in packages:
            bundle.with_name(name).rename(bundle / name)
    assert checked.returncode == 1
    assert checked.stderr.startswith("Error: pyyaml is not here: huggingface_hub needs pyyaml")
    assert called.returncode == 1
    assert called.stderr.startswith("Error: this machine has no module yaml")
    assert len(called.stderr.splitlines()) == 1


def test_another_python_is_refused(bundle: Path, machine: Path, tmp_path: Path) -> None:
    facts = bundle / "bin" / "bundle.json"
    before = facts.read_text()
    facts.write_text(before.replace(HERE, ANOTHER))
    try:
        done = call(machine, bundle / "bin/nnUNetv2_supervoxel_trainers")
    finally:
        facts.write_text(before)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: this bundle is for Python {ANOTHER}")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["{folder}/there.tar.xz"], "is there already"),
        (["{folder}/bundle.zip"], "must end in .tar.xz"),
        (["{folder}/nowhere/bundle.tar.xz"], "there is no folder"),
        (["{folder}/bundle.tar.xz", "--python", "3.9"], "3.10 or newer"),
        (["{folder}/bundle.tar.xz", "--with", "tensorflow"], "invalid choice: 'tensorflow'"),
        (["{folder}/bundle.tar.xz", "--python", ANOTHER], "is there a network?"),
        ([], "required: OUT.tar.xz"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(arguments: list[str], word: str, tmp_path: Path) -> None:
    (tmp_path / "there.tar.xz").write_text("mine")
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    done = pack(*(argument.format(folder=tmp_path) for argument in arguments), **offline)
    assert done.returncode in (1, 2)
    assert word in done.stderr.splitlines()[-1]
    assert "rror: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["there.tar.xz"]
    assert (tmp_path / "there.tar.xz").read_text() == "mine"
