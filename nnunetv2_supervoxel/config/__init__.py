"""Settings, and the YAML files that hold them."""

from nnunetv2_supervoxel.config.generation import GenerationConfig
from nnunetv2_supervoxel.config.loading import find_config, load_config
from nnunetv2_supervoxel.config.training import (
    InteractionKind,
    PretrainingConfig,
    PromptTrainingConfig,
    TrainingConfig,
)

__all__ = [
    "GenerationConfig",
    "InteractionKind",
    "PretrainingConfig",
    "PromptTrainingConfig",
    "TrainingConfig",
    "find_config",
    "load_config",
]
