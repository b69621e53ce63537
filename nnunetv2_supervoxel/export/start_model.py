"""The way in: a model folder for nnInteractive, as something to train on from."""

from __future__ import annotations

import math
import pydoc
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import pooch
import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_supervoxel.errors import UserError, last_line
from nnunetv2_supervoxel.export.model_folder import ModelFolder, read_model_folder
from nnunetv2_supervoxel.export.trained_model import (
    Weights,
    load_checkpoint,
    network_shapes,
    network_without_weights,
    shapes_of,
)
from nnunetv2_supervoxel.prompts.encoding import NUM_CHANNELS
from nnunetv2_supervoxel.training.objectives.base import HEADS

_LARGEST_PATCH = 1024  # voxels along an axis


@dataclass(frozen=True, eq=False)
class StartModel:
    """A model whose network the installed nnU-Net builds, and whose weights fit it.

    Attributes:
        described: what its folder says.
        configuration: name in its plans, of the configuration that it was trained with.
        settings: content of that configuration, inheritance resolved.
        weights: by name; they stay in their file until they are used.
        missing: heads for deep supervision that the file lacks, by name.
        left_over: what the file has and the network hasn't, by name.
    """

    described: ModelFolder
    configuration: str
    settings: dict
    weights: Weights
    missing: tuple[str, ...]
    left_over: tuple[str, ...]

    def network_without_weights(self) -> Any:
        """Its network on PyTorch's meta device; nnU-Net's networks have no type hints."""
        channels = self.described.image_channels + NUM_CHANNELS
        return network_without_weights(self.described.plans, self.configuration, channels, 2)

    @cached_property
    def provenance(self) -> dict:
        """What a training and an export note about the model that they started from."""
        return {
            "folder": str(self.described.folder.resolve()),
            "sha256": pooch.file_hash(str(self.described.checkpoint)),
            "dataset": self.described.plans.get("dataset_name"),
            "license": self.described.license,
        }


def load_start_model(folder: Path) -> StartModel:
    """Read a model folder with its weights, without running any code from it.

    Raises:
        UserError: it isn't a model folder, or is damaged; its plans are 2D, of a cascade, or of a network that the
            installed nnU-Net can't build; its weights don't fit its network.
    """
    described = read_model_folder(folder)
    content = load_checkpoint(described.checkpoint)
    try:
        configuration = content["init_args"]["configuration"]
        manager = PlansManager(described.plans).get_configuration(configuration)
        settings = dict(manager.configuration)
    except Exception as error:  # plans from elsewhere can be wrong in any way
        raise UserError(
            f"{described.checkpoint} doesn't name a configuration of {folder / 'plans.json'} that nnU-Net can read "
            f"({last_line(error)}); copy the folder again."
        ) from error
    where = f"configuration '{configuration}' of {folder / 'plans.json'}"
    weights = content["network_weights"]
    _check_configuration(settings, where)
    _check_network(settings, where, len(weights))
    missing, left_over = _compare(described, configuration, weights, where)
    return StartModel(described, configuration, settings, weights, missing, left_over)


def load_into(network: torch.nn.Module, model: StartModel) -> None:
    """Give a network all weights of a model; heads for deep supervision that the model lacks stay as they are.

    Args:
        network: nnU-Net's own, as built from the model's plans.
        model: whose weights.
    """
    names = set(network.state_dict())
    network.load_state_dict({name: w for name, w in model.weights.items() if name in names}, strict=False)


@torch.no_grad()
def mix_into(network: torch.nn.Module, model: StartModel, share: float) -> None:
    """Move all weights of a trained network some of the way back to those that it started from, on a straight line.

    Wortsman et al., *Robust fine-tuning of zero-shot models* (2022): such networks keep most of what either end knows.

    Args:
        network: trained from the model; what the model lacks stays as it is.
        model: where it started.
        share: of the way, from 0, which changes nothing, to 1, which gives the model's weights.
    """
    for name, weights in chain(network.named_parameters(), network.named_buffers()):  # state_dict() has some twice
        if name in model.weights and weights.is_floating_point():
            weights.lerp_(model.weights[name].to(weights), share)


def _check_configuration(settings: Mapping[str, Any], where: str) -> None:
    """Check that a configuration is 3D, stands alone, and has a patch that its network can halve as often as it does.

    Raises:
        UserError: it isn't.
    """
    patch = settings.get("patch_size")
    if not isinstance(patch, (list, tuple)) or not all(type(size) is int for size in patch):
        raise UserError(f"The {where} has no patch size; copy the folder again.")
    if len(patch) != 3:
        raise UserError(f"The {where} is 2D, but prompts are trained in 3D; take a 3D model.")
    if settings.get("previous_stage") is not None:
        raise UserError(f"The {where} is the second stage of a cascade, which can't be trained here.")
    if not all(0 < size <= _LARGEST_PATCH for size in patch):
        raise UserError(
            f"The {where} has a patch of {list(patch)} voxels, which can't be right; copy the folder again."
        )


def _check_network(settings: Mapping[str, Any], where: str, tensors: int) -> None:
    """Check that a network is one of the installed nnU-Net's, and no larger than its weights.

    Plans name Python objects, which nnU-Net imports and calls. So only its networks and PyTorch's layers may be named.

    Args:
        settings: of the configuration.
        where: for the message.
        tensors: how many the file of weights holds.

    Raises:
        UserError: it isn't.
    """
    reason = None
    try:
        architecture = settings["architecture"]
        kwargs, imported = architecture["arch_kwargs"], architecture["_kw_requires_import"]
        name = architecture["network_class_name"]
        if not _is_module(name, "dynamic_network_architectures"):
            reason = f"there is no network '{name}'"
        elif wrong := [kwargs[key] for key in imported if kwargs[key] and not _is_module(kwargs[key], "torch")]:
            reason = f"'{wrong[0]}' is no layer of PyTorch"
        elif any(count > tensors for key, value in kwargs.items() if key.startswith("n_") for count in _flat(value)):
            reason = "it has more layers than there are weights"
        elif any(
            size % math.prod(int(stride[axis]) for stride in kwargs["strides"])
            for axis, size in enumerate(settings["patch_size"])
        ):
            reason = f"its strides don't divide the patch of {list(settings['patch_size'])} voxels"
    except Exception as error:  # as above
        reason = last_line(error)
    if reason:
        raise _cannot_build(where, reason)


def _compare(
    described: ModelFolder, configuration: str, weights: Weights, where: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Compare weights with the network of the plans: names of missing heads for deep supervision, and of left overs.

    Raises:
        UserError: another weight is missing, or one has another shape or no numbers.
    """
    channels = described.image_channels + NUM_CHANNELS
    try:
        expected = network_shapes(described.plans, configuration, channels, 2)
    except Exception as error:  # nnU-Net's networks assert, or fail in whatever way
        raise _cannot_build(where, last_line(error)) from error
    have = shapes_of(weights)
    stem = next(iter(expected))
    if stem in have and len(have[stem]) == len(expected[stem]) and have[stem][1] != expected[stem][1]:
        raise UserError(
            f"{described.checkpoint} takes {have[stem][1]} input channels, but {described.image_channels} image "
            f"channel(s) of dataset.json and {NUM_CHANNELS} for interactions make {channels}; it is no model for "
            "nnInteractive, or dataset.json belongs to another one."
        )
    missing = [name for name in expected if name not in have]
    heads = [name for name in missing if re.fullmatch(r"decoder\.seg_layers\.\d+\.(weight|bias)", name)]
    finest = max((int(name.split(".")[2]) for name in expected if name.startswith("decoder.seg_layers.")), default=0)
    heads = [name for name in heads if int(name.split(".")[2]) < finest]
    different = [name for name in expected if name in have and have[name] != expected[name]]
    if different or len(missing) > len(heads):
        name = different[0] if different else next(name for name in missing if name not in heads)
        said = f"has shape {have[name]}, but {expected[name]} is needed" if different else "is missing"
        raise UserError(f"{described.checkpoint} doesn't fit the network of its own plans: layer {name} {said}.")
    for name, weight in weights.items():
        if not weight.is_floating_point() or not torch.isfinite(weight).all():
            raise UserError(f"{described.checkpoint} is damaged: layer {name} holds values that are no numbers.")
    left_over = [name for name in have if name not in expected and not name.startswith(f"{HEADS}.")]
    return tuple(heads), tuple(left_over)


def _is_module(name: object, package: str) -> bool:
    """Whether a dotted name is that of a class of network layers in a package; only that package is imported for it."""
    if not isinstance(name, str) or not re.fullmatch(rf"{package}(\.\w+)+", name):
        return False
    found = pydoc.locate(name)
    return isinstance(found, type) and issubclass(found, torch.nn.Module) and found.__module__.startswith(package)


def _flat(value: object) -> Sequence[int]:
    return value if isinstance(value, (list, tuple)) else [value] if isinstance(value, int) else []


def _cannot_build(where: str, reason: str) -> UserError:
    return UserError(f"The installed nnU-Net can't build the network in {where}: {reason}; update nnunetv2.")
