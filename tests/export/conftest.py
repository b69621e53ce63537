"""A trained model as nnUNetv2_train leaves it, on the phantoms."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

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


@pytest.fixture
def network():
    """Build a network as nnU-Net does: `network(plans, channels, outputs)`."""

    def build(plans, channels, outputs):
        manager = PlansManager(plans)
        return nnUNetTrainer.build_network_architecture(
            manager, manager.get_configuration("3d_tiny"), channels, outputs, True
        )

    return build


@pytest.fixture
def residual_model(model, network):
    """The model with a residual encoder in its plans, untrained."""
    plans = json.loads(json.dumps(model.plans))
    architecture = plans["configurations"]["3d_tiny"]["architecture"]
    architecture["network_class_name"] = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
    kwargs = architecture["arch_kwargs"]
    kwargs["n_blocks_per_stage"] = kwargs.pop("n_conv_per_stage")
    return replace(model, plans=plans, weights=network(plans, 8, 2).state_dict())
