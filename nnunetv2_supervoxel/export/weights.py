"""A trained model's weights as pretrained weights: for image channels alone, at the scale of initial weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.trained_model import TrainedModel, Weights, network_shapes
from nnunetv2_supervoxel.files.aside import check_name, file_aside, make_folder
from nnunetv2_supervoxel.files.nnunet_folders import dataset_folder
from nnunetv2_supervoxel.files.preprocessed import count_image_channels

_LEAKY_SLOPE = 1e-2  # slope of the activation for which nnU-Net initialises weights


def channels_for(model: TrainedModel, channels: int | None, target: str | None) -> int:
    """Number of image channels of the network to write.

    Args:
        model: what was trained.
        channels: the number asked for; None: as many as `target` has, or as in training if there is no target.
        target: ID or name of the dataset for fine-tuning, which must be planned; None: not known.

    Raises:
        UserError: there is no such target, or its number of channels isn't the one asked for.
    """
    if target is None:
        return channels or model.image_channels
    description = dataset_folder(target) / "dataset.json"
    try:
        available = count_image_channels(json.loads(description.read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{description} can't be read; plan dataset {target} first.") from error
    if channels not in (None, available):
        raise UserError(f"Dataset {target} has {available} image channel(s), but {channels} were asked for.")
    return available


def pretrained_weights(model: TrainedModel, channels: int) -> Weights:
    """The weights for `channels` image channels and no interactions, at the scale that is best for fine-tuning."""
    return at_initial_scale(with_image_channels(model, channels))


def with_image_channels(model: TrainedModel, channels: int) -> Weights:
    """The weights with a first convolution that takes `channels` image channels and no interactions.

    Interaction channels are dropped. Where the number of image channels differs, each new one gets the mean over the
    trained ones, scaled so that equal images in all channels give the same response as before.
    """
    trained = model.image_channels
    shapes = network_shapes(model.plans, model.configuration, channels, 2)
    adapted = {}
    for name, weight in model.weights.items():
        if tuple(weight.shape) != shapes[name]:  # the first convolution, under each of its names
            weight = weight[:, :trained]
            if channels != trained:
                weight = weight.mean(dim=1, keepdim=True).repeat_interleave(channels, dim=1) * (trained / channels)
        adapted[name] = weight.clone()
    return adapted


def at_initial_scale(weights: Weights) -> Weights:
    """The weights with every normalised convolution as large as nnU-Net initialises it (He et al., 2015).

    The network's response stays the same, because a normalisation removes the scale of its input. But what an
    optimizer's step changes depends on its size relative to the weights, and the weights have grown in training. With
    the learning rate of a training from scratch they would change too slowly (see scripts/benchmark_pretraining.py).
    """
    scaled = dict(weights)
    gain = torch.nn.init.calculate_gain("leaky_relu", _LEAKY_SLOPE)
    for name, weight in weights.items():
        block = name.removesuffix("conv.weight")
        # A normalisation with running statistics (batch normalisation) doesn't remove the scale.
        normalised = f"{block}norm.weight" in weights and f"{block}norm.running_mean" not in weights
        if block == name or not normalised or not weight.any():
            continue
        factor = gain * (weight.numel() / weight[0].numel()) ** 0.5 / weight.norm()
        for same in ("conv", "all_modules.0"):  # nnU-Net's blocks name their convolution twice
            for part in (f"{block}{same}.weight", f"{block}{same}.bias"):
                if part in weights:
                    scaled[part] = weights[part] * factor
    return scaled


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a file for torch.load. It appears when it is complete.

    Raises:
        UserError: the file's name doesn't end in .pth, or nothing can be written.
    """
    if path.suffix != ".pth":
        raise UserError(f"{path} must end in .pth; nnU-Net's weights are a single file.")
    check_name(path)
    make_folder(path.parent)
    with file_aside(path) as aside:
        torch.save(content, aside)
