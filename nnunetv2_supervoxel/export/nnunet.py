"""Weights for `nnUNetv2_train -pretrained_weights`: the network without its interaction channels."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from batchgenerators.utilities.file_and_folder_operations import load_json
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.trained_model import (
    TrainedModel,
    Weights,
    first_difference,
    network_shapes,
    shapes_of,
)
from nnunetv2_supervoxel.training.further_datasets import count_image_channels

_LEAKY_SLOPE = 1e-2  # that nnU-Net initialises for
_NOT_TRANSFERRED = ".seg_layers."  # nnU-Net leaves the layers that depend on the number of classes as they are


def export_nnunet(model: TrainedModel, path: Path, channels: int | None = None, target: str | None = None) -> None:
    """Write a checkpoint that nnU-Net takes as pretrained weights for the same plans.

    Args:
        model: what was trained.
        path: file to write, ending in .pth.
        channels: number of image channels of the target; None: as many as in training, or what `target` has.
        target: ID or name of a preprocessed dataset that the weights are checked against; None: they are not.

    Raises:
        UserError: a wrong file name, or a target whose network differs (the sentence names the layer).
    """
    if path.suffix != ".pth":
        raise UserError(f"{path} must end in .pth; nnU-Net's weights are a single file.")
    needed = None
    if target is not None:
        available, needed = _target(model, target)
        if channels not in (None, available):
            raise UserError(f"Dataset {target} has {available} image channel(s), but {channels} were asked for.")
        channels = available
    weights = at_initial_scale(with_image_channels(model, channels or model.image_channels))
    if needed and (misfit := first_difference(_transferred(shapes_of(weights)), _transferred(needed))):
        raise UserError(
            f"The network of dataset {target} is another one: {misfit}. Give it the plans of the pretraining with "
            "nnUNetv2_move_plans_between_datasets and preprocess it again."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.writing")
    torch.save({"network_weights": weights, "trainer_name": "SupervoxelPromptTrainer"}, aside)
    os.replace(aside, path)


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

    The network's response stays what it is, because a normalisation takes the scale of its input out. But an
    optimizer's step counts relative to the weights, which have grown in training: with the learning rate of a training
    from scratch they would move too slowly (see scripts/benchmark_pretraining.py).
    """
    scaled = dict(weights)
    gain = torch.nn.init.calculate_gain("leaky_relu", _LEAKY_SLOPE)
    for name, weight in weights.items():
        block = name.removesuffix("conv.weight")
        # With running statistics, as batch normalisation has them, the scale is not taken out.
        normalised = f"{block}norm.weight" in weights and f"{block}norm.running_mean" not in weights
        if block == name or not normalised or not weight.any():
            continue
        factor = gain * (weight.numel() / weight[0].numel()) ** 0.5 / weight.norm()
        for same in ("conv", "all_modules.0"):  # nnU-Net's blocks name their convolution twice
            for part in (f"{block}{same}.weight", f"{block}{same}.bias"):
                if part in weights:
                    scaled[part] = weights[part] * factor
    return scaled


def _target(model: TrainedModel, target: str) -> tuple[int, dict[str, tuple[int, ...]]]:
    """Number of image channels of a preprocessed dataset, and the shapes of its network under the same plans' name."""
    name = model.plans["plans_name"]
    try:
        folder = Path(nnUNet_preprocessed) / maybe_convert_to_dataset_name(target)
        plans, dataset = load_json(str(folder / f"{name}.json")), load_json(str(folder / "dataset.json"))
        channels = count_image_channels(dataset)
        return channels, network_shapes(plans, model.configuration, channels, 2)
    except (RuntimeError, ValueError, OSError, KeyError, TypeError) as error:
        raise UserError(
            f"Dataset {target} has no plans '{name}' with configuration '{model.configuration}' "
            f"({str(error).splitlines()[0]}); move the plans of the pretraining there with "
            "nnUNetv2_move_plans_between_datasets."
        ) from error


def _transferred(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in shapes.items() if _NOT_TRANSFERRED not in name}
