"""Weights for `nnUNetv2_train -pretrained_weights`: the network without its interaction channels."""

from __future__ import annotations

from pathlib import Path

from batchgenerators.utilities.file_and_folder_operations import load_json

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.trained_model import (
    TrainedModel,
    first_difference,
    network_shapes,
    shapes_of,
)
from nnunetv2_supervoxel.export.weights import channels_for, pretrained_weights, write_checkpoint
from nnunetv2_supervoxel.files.nnunet_folders import dataset_folder

_NOT_TRANSFERRED = ".seg_layers."  # nnU-Net leaves the layers that depend on the number of classes as they are


def export_nnunet(model: TrainedModel, path: Path, channels: int | None = None, target: str | None = None) -> None:
    """Write a checkpoint that nnU-Net takes as pretrained weights for the same plans.

    Args:
        model: what was trained.
        path: file to write, ending in .pth.
        channels: number of image channels; None: as many as `target` has, or as in training if there is no target.
        target: ID or name of a preprocessed dataset that the weights are checked against; None: no check.

    Raises:
        UserError: a wrong file name, or a target whose network differs (the message names the layer).
    """
    channels = channels_for(model, channels, target)
    weights = pretrained_weights(model, channels)
    if target is not None:
        needed = _network_of(target, model, channels)
        if misfit := first_difference(_transferred(shapes_of(weights)), _transferred(needed)):
            raise UserError(
                f"The network of dataset {target} differs: {misfit}. Give the dataset the plans of the pretraining "
                "with nnUNetv2_move_plans_between_datasets and preprocess it again."
            )
    write_checkpoint(path, {"network_weights": weights})


def _network_of(target: str, model: TrainedModel, channels: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights in the network of a preprocessed dataset that has plans of the same name."""
    name = model.plans["plans_name"]
    try:
        plans = load_json(str(dataset_folder(target) / f"{name}.json"))
        return network_shapes(plans, model.configuration, channels, 2)
    except (RuntimeError, ValueError, OSError, KeyError, TypeError) as error:
        raise UserError(
            f"Dataset {target} has no plans '{name}' with configuration '{model.configuration}' "
            f"({str(error).splitlines()[0]}); move the plans of the pretraining there with "
            "nnUNetv2_move_plans_between_datasets."
        ) from error


def _transferred(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in shapes.items() if _NOT_TRANSFERRED not in name}
