"""A training that starts from a model: which settings it takes over, and whether the plans are the model's."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_supervoxel.config import PromptTrainingConfig
from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.start_model import StartModel, load_start_model
from nnunetv2_supervoxel.export.start_plans import describe_network
from nnunetv2_supervoxel.files.preprocessed import count_image_channels
from nnunetv2_supervoxel.training.warm_up import SHARE

# Of nnU-Net's trainer for pretrained networks (PretrainedTrainer, development version of 2026): 0.001 instead of 0.01.
RATE = 0.1


def open_start_model(
    config: PromptTrainingConfig, plans: dict, configuration: str, dataset_json: Mapping[str, Any]
) -> StartModel | None:
    """The model that a config names; None if it names none.

    Args:
        config: of the training.
        plans: of the training.
        configuration: of these plans.
        dataset_json: of the dataset trained on.

    Raises:
        UserError: there is no such model, or the plans aren't made for it.
    """
    if config.start_from is None:
        return None
    model = load_start_model(Path(config.start_from).expanduser())
    ours = PlansManager(plans).get_configuration(configuration).configuration
    channels = count_image_channels(dict(dataset_json))
    contradictions = []
    if channels != model.described.image_channels:
        contradictions.append(f"images have {channels} channel(s) instead of {model.described.image_channels}")
    if not _same_network(model.settings, ours):
        contradictions.append(
            f"the network is {describe_network(ours)} instead of {describe_network(model.settings)}, or has other "
            "kernels or strides"
        )
    if contradictions:
        raise UserError(
            f"'start_from' of the training config names {config.start_from}, but the plans '{plans['plans_name']}' "
            f"aren't made for it: {'; '.join(contradictions)}. Make them with nnUNetv2_supervoxel_start_from, and name "
            "them with -p."
        )
    return model


def check_weights_are(model: StartModel, network: torch.nn.Module) -> None:
    """Check that a training begins with a model's weights.

    Args:
        model: named by the config.
        network: nnU-Net's own, as the training begins.

    Raises:
        UserError: other weights were loaded after them.
    """
    here = network.state_dict()
    pairs = [(here[name], w) for name, w in model.weights.items() if name in here]
    if not all(torch.equal(now.cpu(), start.to("cpu", now.dtype)) for now, start in pairs):
        raise UserError(
            "The training begins with two sets of weights: those of 'start_from' in the training config, and those "
            "given with -pretrained_weights. Leave one of them out."
        )


def with_settings_of(model: StartModel, config: PromptTrainingConfig) -> tuple[PromptTrainingConfig, list[str]]:
    """The config with what it leaves open, and what the log should say about it.

    Interactions are the model's unless the config says otherwise. The learning rate is lower than that of a training
    from scratch, and warms up.

    Raises:
        UserError: the model's scribbles can't be drawn here, or it knows none of the default types of interactions.
    """
    given, described = config.model_fields_set, model.described
    of_model: dict[str, Any] = {
        "point_radius": described.point_radius,
        "interaction_decay": described.interaction_decay,
        "interactions": {kind: w for kind, w in config.interactions.items() if kind in described.interactions},
    }
    thickness = set(described.scribble_thickness)
    if len(thickness) == 1:
        of_model["scribble_thickness"] = thickness.pop()
    elif "scribble_thickness" not in given:
        raise UserError(
            f"The start model's scribbles are {list(described.scribble_thickness)} voxels thick, which can't be drawn "
            "here; set 'scribble_thickness' in the training config to one number."
        )
    taken = {name: value for name, value in of_model.items() if name not in given}
    notes = [f"started from {described.folder} ({model.provenance['sha256'][:12]})"]
    notes += [f"start model: {name} is {value}" for name, value in taken.items()]
    notes += [
        f"the config's {name} is {getattr(config, name)}; the start model was trained with {value}"
        for name, value in of_model.items()
        if name in given and name != "interactions" and value != getattr(config, name)
    ]
    wanted = {kind for kind, weight in config.interactions.items() if weight > 0}
    if "interactions" in given and (new := sorted(wanted.difference(described.interactions))):
        notes.append(f"the start model doesn't know {', '.join(new)}; it learns them here")
    notes += [f"the start model lacks {name}, which starts at random" for name in model.missing]
    notes += [f"{name} of the start model has no place here and is left out" for name in model.left_over]
    if described.pad_mode != "constant":
        notes.append(f"nnInteractive pads this model's images with '{described.pad_mode}', the training with 0")
    # The settings are written down, for going on from any folder.
    taken["start_from"] = str(Path(str(config.start_from)).expanduser().absolute())
    return config.model_copy(update=taken | _schedule(config)), notes


def _schedule(config: PromptTrainingConfig) -> dict[str, Any]:
    """Learning rate and warm-up, where the config leaves them open."""
    usual = PromptTrainingConfig.model_fields["initial_lr"].default
    warm_up = min(math.ceil(SHARE * config.num_epochs), config.num_epochs - 1)
    schedule = {"initial_lr": RATE * usual, "warmup_epochs": warm_up}
    return {name: value for name, value in schedule.items() if name not in config.model_fields_set}


def _same_network(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Whether two configurations build the same network; modules of nnU-Net's network classes have moved once."""
    names, arguments = [], []
    for architecture in (theirs["architecture"], ours["architecture"]):
        names.append(architecture["network_class_name"].split(".")[-1])
        arguments.append(json.dumps(architecture["arch_kwargs"], sort_keys=True))
    return names[0] == names[1] and arguments[0] == arguments[1]
