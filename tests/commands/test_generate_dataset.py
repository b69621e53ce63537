"""`nnUNetv2_supervoxel_generate`, on the MNI152 brain."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import blosc2
import numpy as np
import pytest
import yaml

from nnunetv2_supervoxel.config import find_config

Contents = Callable[..., dict[str, bytes]]


def test_what_is_kept_from_other_settings_is_said(
    contents: Contents, generated: Path, run: Callable, tmp_path: Path
) -> None:
    """The batch size, which makes no other supervoxels, is none of them."""
    config = tmp_path / "config.yaml"
    changed = {"seed": 1, "max_track_growth": 2.0, "points_per_batch": 3}
    config.write_text(yaml.safe_dump(yaml.safe_load(find_config("tiny_brain").read_text()) | changed))
    before = contents(generated)
    arguments = ("-d", 990, "-device", "cpu", "--report", tmp_path / "report.csv")
    done = run("nnUNetv2_supervoxel_generate", *arguments, "-config", config)
    assert done.returncode == 0, done.stderr
    assert "3 cases: 0 made, 3 kept" in done.stdout
    assert "Note: 3 of them were done before with other settings (max_track_growth, seed)" in done.stderr
    with open(tmp_path / "report.csv", newline="") as file:
        assert [row["differing"] for row in csv.DictReader(file)] == ["max_track_growth, seed"] * 3
    done = run("nnUNetv2_supervoxel_generate", *arguments, "-config", "tiny_brain")
    assert "3 kept" in done.stdout
    assert "other settings" not in done.stderr
    assert contents(generated) == before


@pytest.fixture
def copy(preprocessed: Path) -> Path:
    """A second dataset (991) with the preprocessed files of the first, free to be damaged."""
    target = preprocessed.parent / "Dataset991_Copy"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(preprocessed, target, ignore=shutil.ignore_patterns("*_supervoxels"))
    yield target
    shutil.rmtree(target)


def test_bad_cases_are_reported_and_stop_nobody(copy: Path, run: Callable, tmp_path: Path) -> None:
    images = copy / "nnUNetPlans_3d_fullres"
    damaged = images / "brain_00.b2nd"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    shape = blosc2.open(str(images / "brain_01.b2nd")).shape
    (images / "brain_01.b2nd").unlink()
    blosc2.asarray(np.full(shape, 3.0, np.float32), urlpath=str(images / "brain_01.b2nd"))

    done = run("nnUNetv2_supervoxel_generate", "-d", 991, "-config", "tiny", "--report", tmp_path / "report.csv")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "3 cases: 1 made, 0 kept, 1 without supervoxels, 1 failed" in done.stdout
    assert "brain_00" in done.stderr
    made = copy / "nnUNetPlans_3d_fullres_supervoxels"
    assert sorted(os.listdir(made)) == [".failed", "brain_01.json", "brain_02.b2nd", "brain_02.json", "brain_02.pkl"]
    assert os.listdir(made / ".failed") == ["brain_00"]
    assert json.loads((made / "brain_01.json").read_text())["notes"] == ["the image is constant"]
    with open(tmp_path / "report.csv", newline="") as file:
        rows = {row["case"]: row["status"] for row in csv.DictReader(file)}
    assert rows == {"brain_00": "failed", "brain_01": "empty", "brain_02": "made"}


def test_cases_that_lost_their_images_are_noted(copy: Path, run: Callable, tmp_path: Path) -> None:
    config = tmp_path / "slic.yaml"
    config.write_text("method: slic\nmasks_per_image: 5\n")
    (copy / "nnUNetPlans_3d_fullres" / "brain_01.b2nd").unlink()
    done = run("nnUNetv2_supervoxel_generate", "-d", 991, "-config", config, "-device", "cpu")
    assert done.returncode == 0
    assert "2 cases: 2 made" in done.stdout
    assert "Note: 1 preprocessed cases in " in done.stderr
    assert "have a .pkl and no image, such as 'brain_01'" in done.stderr


def test_a_few_cases_to_try_settings_on(copy: Path, run: Callable, tmp_path: Path) -> None:
    config = tmp_path / "slic.yaml"
    config.write_text("method: slic\nmasks_per_image: 5\n")
    generate = ("nnUNetv2_supervoxel_generate", "-d", 991, "-config", config, "-device", "cpu")
    made = copy / "nnUNetPlans_3d_fullres_supervoxels"
    done = run(*generate, "-cases", "brain_02", "brain_00")
    assert done.returncode == 0, done.stderr
    assert "2 cases: 2 made, 0 kept" in done.stdout
    assert sorted(path.name for path in made.glob("*.b2nd")) == ["brain_00.b2nd", "brain_02.b2nd"]
    assert "3 cases: 1 made, 2 kept" in run(*generate).stdout
    before = (made / "brain_01.b2nd").stat().st_mtime_ns
    assert "1 cases: 1 made, 0 kept" in run(*generate, "-cases", "brain_00", "--overwrite").stdout
    assert (made / "brain_01.b2nd").stat().st_mtime_ns == before


def test_slic_with_windows_in_the_images_units(copy: Path, run: Callable, tmp_path: Path) -> None:
    """Without any model, on a dataset that nnU-Net normalised as CT; z-scored images have lost their units."""
    config = tmp_path / "slic.yaml"
    config.write_text("method: slic\nmasks_per_image: 12\nsam1_checkpoint: missing.pth\nwindows: [300, 400]\n")
    refused = run("nnUNetv2_supervoxel_generate", "-d", 991, "-config", config, "-device", "cpu")
    assert refused.returncode == 1
    assert (
        "Error: 'windows' of the config are in the images' own units, which Dataset991_Copy has lost" in refused.stderr
    )
    assert not (copy / "nnUNetPlans_3d_fullres_supervoxels").exists()

    plans = json.loads((copy / "nnUNetPlans.json").read_text())
    plans["configurations"]["3d_fullres"]["normalization_schemes"] = ["CTNormalization"]
    intensities = {"mean": 300.0, "std": 100.0} | {"min": 0.0, "max": 900.0, "median": 300.0}
    plans["foreground_intensity_properties_per_channel"]["0"] |= intensities
    (copy / "nnUNetPlans.json").write_text(json.dumps(plans))
    done = run("nnUNetv2_supervoxel_generate", "-d", 991, "-config", config, "-device", "cpu")
    assert done.returncode == 0, done.stderr
    folder = copy / "nnUNetPlans_3d_fullres_supervoxels"
    provenance = json.loads((folder / "brain_00.json").read_text())
    assert 0 < provenance["n"] <= 12
    assert provenance["checkpoints"] == {}
    assert provenance["supervoxels"][0]["predicted_iou"] is None
    masks = blosc2.open(str(folder / "brain_00.b2nd"))[:]
    stored = blosc2.open(str(copy / "nnUNetPlans_3d_fullres/brain_00.b2nd"))[0]
    assert masks.sum(0).max() == 1  # segments don't overlap
    # The window goes from -2 to 2 in what is stored, so its foreground isn't that of the whole range.
    assert stored[masks.any(0)].mean() > stored.mean() + 0.5
