"""Weights for nnU-Net's fine-tuning from nnssl checkpoints, which also works for datasets with other plans.

Reference: nnU-Net's development branch, ``nnUNetv2_plan_like_dynamic``, ``nnUNetv2_preprocess_like_nnssl`` and
``nnUNetv2_train_pretrained`` (``experiment_planning/like_nnssl.py``, ``training/nnUNetTrainer/pretraining``). They load
the encoder and leave the decoder as initialised.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.trained_model import TrainedModel, network_without_weights
from nnunetv2_supervoxel.export.weights import channels_for, pretrained_weights, write_checkpoint

_RESIDUAL = "ResidualEncoderUNet"
_KNOWN_TO_THE_READER = (_RESIDUAL, "PlainConvUNet")


def export_nnssl(model: TrainedModel, path: Path, channels: int | None = None, target: str | None = None) -> str:
    """Write a checkpoint with an `nnssl_adaptation_plan`.

    Args:
        model: what was trained.
        path: file to write, ending in .pth.
        channels: number of image channels; None: as many as `target` has, or as in training if there is no target.
        target: ID or name of a planned dataset, which sets the number of image channels; None: no target.

    Returns:
        In words, for which datasets the reader can use the file.

    Raises:
        UserError: a wrong file name, no such target, or a network that the reader doesn't build.
    """
    channels = channels_for(model, channels, target)
    plan = adaptation_plan(model, channels)
    weights = pretrained_weights(model, channels)
    write_checkpoint(path, {"network_weights": weights, "nnssl_adaptation_plan": plan, "citations": []})
    # The reader can repeat a single channel, but only for encoders that have a stem.
    more = channels == 1 and plan["architecture_plans"]["arch_class_name"].endswith(_RESIDUAL)
    return f"datasets with {channels} image channel(s){' or more' if more else ''}"


def adaptation_plan(model: TrainedModel, channels: int) -> dict:
    """What the reader must know to build the network, preprocess for it, and find the encoder among the weights.

    It is plain data that fits into JSON, because nnU-Net copies parts of it into plans files.

    Raises:
        UserError: the reader doesn't build such a network.
    """
    configuration = PlansManager(model.plans).get_configuration(model.configuration)
    name = configuration.network_arch_class_name
    if not name.endswith(_KNOWN_TO_THE_READER):
        raise UserError(
            f"nnU-Net's fine-tuning from nnssl checkpoints builds {' and '.join(_KNOWN_TO_THE_READER)}, but this is a "
            f"{name.rpartition('.')[2]}; use --format nnunet."
        )
    architecture = {
        "arch_class_name": name,
        "arch_kwargs": dict(configuration.network_arch_init_kwargs),
        "arch_kwargs_requiring_import": list(configuration.network_arch_init_kwargs_req_import),
    }
    patch_size = [int(size) for size in configuration.patch_size]
    spacing = [float(size) for size in configuration.spacing]
    network: Any = network_without_weights(model.plans, model.configuration, channels, 2)
    return {
        "architecture_plans": architecture,
        "architecture_kwargs": architecture["arch_kwargs"],  # where the reader looks for kernel sizes and depth
        "pretrain_plan": {"configurations": {model.configuration: {"spacing": spacing, "patch_size": patch_size}}},
        "pretrain_num_input_channels": channels,
        "recommended_downstream_patchsize": patch_size,
        "key_to_encoder": network.key_to_encoder,
        "key_to_stem": network.key_to_stem,
        "keys_to_in_proj": list(network.keys_to_in_proj),
        "key_to_lpe": None,  # only transformers have one
    }
