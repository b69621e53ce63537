"""Checkpoints and supervoxels of earlier versions are still what they were (see older_files/README.md)."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.run.run_training import run_training

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.nninteractive import export_nninteractive
from nnunetv2_supervoxel.export.trained_model import load_trained_model
from nnunetv2_supervoxel.training.dataset import PromptDataset

OLDER = Path(__file__).parent / "older_files"
TRAINED_FOLDER = "SupervoxelPromptTrainer__nnUNetPlans__3d_tiny"
NAMES = ("997", "SupervoxelPromptTrainer", "nnUNetPlans", "3d_tiny", "all")


@pytest.fixture
def trained(prompt_training):
    """Put a model of that time where nnUNetv2_train would have left it: `trained("naming")`."""
    results = prompt_training(num_epochs=3)

    def put(name: str) -> Path:
        return Path(shutil.copytree(OLDER / name, results / TRAINED_FOLDER))

    return put


def weights_of(name: str) -> dict[str, torch.Tensor]:
    return torch.load(OLDER / name / "fold_all" / "checkpoint_final.pth", weights_only=False)["network_weights"]


def test_a_prompt_model_is_exported_for_nninteractive(trained, run, tmp_path):
    trained("prompting")
    done = run(
        *("nnUNetv2_supervoxel_export", "-d", 997, "-c", "3d_tiny", "-o", tmp_path / "out", "--format", "nninteractive")
    )
    assert done.returncode == 0, done.stderr
    info = json.loads((tmp_path / "out" / "inference_info.json").read_text())
    assert info["point_radius"] == 3
    assert info["supported_interactions"] == {
        "points": True,
        "bbox2d": False,
        "scribble": True,
        "lasso": True,
        "bbox3d": False,
    }
    exported = torch.load(tmp_path / "out" / "fold_0" / "checkpoint_final.pth", weights_only=True)["network_weights"]
    assert set(exported) == set(weights_of("prompting"))
    assert all(torch.equal(exported[name], weight) for name, weight in weights_of("prompting").items())


def test_a_prompt_training_goes_on(trained):
    fold = trained("prompting") / "fold_all"
    run_training("997", "3d_tiny", "all", "SupervoxelPromptTrainer", device=torch.device("cpu"), continue_training=True)
    checkpoint = torch.load(fold / "checkpoint_final.pth", weights_only=False)
    before = torch.load(OLDER / "prompting" / "fold_all" / "checkpoint_final.pth", weights_only=False)
    assert checkpoint["current_epoch"] == 3
    assert checkpoint["logging"]["train_losses"][:2] == before["logging"]["train_losses"]
    assert checkpoint["logging"]["dice_last_prompt"][:2] == before["logging"]["dice_last_prompt"]
    assert (fold / "validation" / "summary.json").is_file()


def test_a_model_that_named_classes_is_exported_for_fine_tuning_alone(trained, run, tmp_path):
    trained("naming")
    model = load_trained_model(*NAMES)
    assert set(model.weights) == {name for name in weights_of("naming") if not name.startswith("naming.")}
    with pytest.raises(UserError, match="trained without prompts"):
        export_nninteractive(model, tmp_path / "session")
    path = tmp_path / "weights.pth"
    done = run("nnUNetv2_supervoxel_export", "-d", 997, "-c", "3d_tiny", "-o", path, "--format", "nnunet")
    assert done.returncode == 0, done.stderr
    weights = torch.load(path, weights_only=True)["network_weights"]
    assert weights["encoder.stages.0.0.convs.0.conv.weight"].shape[1] == 1


def test_supervoxels_are_kept_and_trained_on(prompt_dataset, run, tmp_path):
    dataset = prompt_dataset.with_name("Dataset986_Older")
    shutil.copytree(prompt_dataset, dataset)
    supervoxels = dataset / "nnUNetPlans_3d_fullres_supervoxels"
    shutil.rmtree(supervoxels)
    shutil.copytree(OLDER / "supervoxels", supervoxels)
    for path in (dataset / "nnUNetPlans_3d_fullres").iterdir():
        if not path.name.startswith("case1"):
            path.unlink()
    try:
        done = run("nnUNetv2_supervoxel_generate", "-d", 986, "-config", "tiny", "-device", "cpu")
        assert done.returncode == 0, done.stderr
        assert "1 cases: 0 made, 1 kept, 0 without supervoxels, 0 failed" in done.stdout
        # The bundled weights were trained on since; nothing else differs.
        assert "other settings (sam1_checkpoint, sam2_checkpoint) and stay" in " ".join(done.stderr.split())
        for path in supervoxels.iterdir():
            assert path.read_bytes() == (OLDER / "supervoxels" / path.name).read_bytes()
        case = PromptDataset(dataset / "nnUNetPlans_3d_fullres", supervoxels).open_case("case1")
        described = json.loads((supervoxels / "case1.json").read_text())
        assert case.supervoxels.shape == (described["n"], *described["shape"])
        for key, rows in case.supervoxel_locations.items():
            mask = np.asarray(case.supervoxels[key - 1])
            assert len(rows) == mask.sum() == described["supervoxels"][key - 1]["voxels"]
            assert mask[tuple(rows[:, 1:].T)].all()
    finally:
        shutil.rmtree(dataset)
