"""Folders that are installed with the package."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path


def test_the_wheel_carries_everything(tmp_path: Path) -> None:
    """Built from the checkout and unpacked elsewhere: configs, trainers, weights and pages' files are found in it."""
    repository = Path(__file__).parents[1]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(repository)], check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "from nnunetv2_supervoxel.config import find_config; from nnunetv2_supervoxel.package_data import *;"
        "from nnunetv2_supervoxel.checkpoints.registry import *;"
        "from nnunetv2_supervoxel.pages import rendering; rendering._environment().get_template('dataset.html');"
        "assert len(rendering._inlined(rendering.NIIVUE)) > 2e6;"
        "print(find_config('tiny'), package_folder('trainers'), find_checkpoint('sam', 'bundled').stat().st_size > 1e5)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "site", capture_output=True, text=True, check=True
    )
    config, trainers, has_weights = done.stdout.split()
    site = str(tmp_path / "site" / "nnunetv2_supervoxel")
    assert config == f"{site}/configs/tiny.yaml"
    assert trainers == f"{site}/trainers"
    assert has_weights == "True"
    assert (Path(trainers)).is_dir()
