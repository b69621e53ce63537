"""Augmentation of training patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms

if TYPE_CHECKING:
    from nnunetv2_supervoxel.training.trainer import SupervoxelTrainer


def augmentation(trainer: SupervoxelTrainer) -> tuple[Sequence[int], BasicTransform]:
    """Size of the patches to read (z, y, x), and what is done to them. Both follow the trainer's config.

    If training doesn't mirror, the trainer stores that inference must not mirror either.
    """
    rotation, dummy_2d, initial_patch, mirror_axes = (
        trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    )
    patch_size, scales = trainer.configuration_manager.patch_size, trainer._get_deep_supervision_scales()
    if trainer.config.augmentation == "nnunet":
        mask_for_norm = trainer.configuration_manager.use_mask_for_norm
        return initial_patch, trainer.get_training_transforms(
            patch_size, rotation, scales, mirror_axes, dummy_2d, use_mask_for_norm=mask_for_norm
        )
    plain = trainer.get_validation_transforms(scales)
    if trainer.config.augmentation == "none":
        trainer.inference_allowed_mirroring_axes = None  # stored in checkpoints
        return patch_size, plain
    return patch_size, ComposeTransforms([MirrorTransform(mirror_axes), plain])
