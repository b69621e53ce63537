"""A trained model as nnUNetv2_train leaves it, on the phantoms."""

from pathlib import Path

import pytest

from nnunetv2_supervoxel.export.trained_model import load_trained_model


@pytest.fixture
def trained(make_trainer, prompt_training):
    """A trainer whose untrained network is saved as the final checkpoint."""
    prompt_training(interaction_decay=0.9, point_radius=3, interactions={"point": 1, "scribble": 1, "lasso": 0.5})
    trainer = make_trainer()
    trainer.on_train_start()
    trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    return trainer


@pytest.fixture
def model(trained):
    return load_trained_model("997", "SupervoxelPromptTrainer", "nnUNetPlans", "3d_tiny", "all")
