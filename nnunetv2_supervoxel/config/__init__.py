"""Settings, and the YAML files that hold them."""

from nnunetv2_supervoxel.config.generation import GenerationConfig, InteractionKind, PromptTrainingConfig, load_config

__all__ = ["GenerationConfig", "InteractionKind", "PromptTrainingConfig", "load_config"]
