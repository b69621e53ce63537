"""Training and evaluation of the tiny checkpoints in scripts/tiny_checkpoints: that they run, and what they compare."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_supervoxel.checkpoints.loading import load_sam, load_sam2
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet
from nnunetv2_supervoxel.phantoms import make_phantom

FOLDER = Path(__file__).parents[2] / "scripts" / "tiny_checkpoints"


@pytest.mark.parametrize(("family", "load"), [("sam", load_sam), ("sam2", load_sam2)])
def test_a_step_of_training_gives_a_checkpoint_and_a_backup_to_go_on_from(family, load, tmp_path):
    def train(name, *arguments):
        command = [sys.executable, FOLDER / "train.py", family, tmp_path / name, "--minutes", "0.001", "--pool", "1"]
        subprocess.run([*command, "--cache", tmp_path / "cache", *arguments], check=True, cwd=tmp_path)

    train("first.safetensors")
    (phantom,) = (tmp_path / "cache").glob("*/phantom_0.npz")
    drawn = phantom.stat().st_mtime_ns
    train("second.safetensors", "--resume", tmp_path / "first.pt", "--workers", "1")

    assert phantom.stat().st_mtime_ns == drawn
    first, second = (load(str(tmp_path / f"{name}.safetensors")).model.state_dict() for name in ("first", "second"))
    assert first.keys() == second.keys()
    assert any(not np.array_equal(first[key], second[key]) for key in first)


def test_true_objects_in_place_of_supervoxels_are_all_found():
    spec = importlib.util.spec_from_file_location("evaluate", FOLDER / "evaluate.py")
    evaluate = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = evaluate  # where its dataclasses look for their module
    spec.loader.exec_module(evaluate)
    phantom = make_phantom((24, 96, 112), np.random.default_rng(1))
    found = SupervoxelSet.of_labels(phantom.labels)

    result = evaluate.compare(phantom, found, keyframe=12)

    assert result.ious == pytest.approx([1.0] * len(found))
    assert result.shape == (24, 96, 112)
    large = [mask for mask in phantom.objects if np.count_nonzero(mask[12]) > evaluate.LARGE]
    assert result.large == len(large) > 0
    assert result.found > 0
