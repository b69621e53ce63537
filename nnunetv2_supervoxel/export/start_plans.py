"""nnU-Net plans for training on from a model: its network and patch, images as nnInteractive's session shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.start_model import StartModel
from nnunetv2_supervoxel.files.preprocessed import NO_RESAMPLING, count_image_channels, is_resampled

CONFIGURATION = "3d_fullres"
SESSION_NORMALISATION = "ZScoreNormalization"

# By nnU-Net's planners: the estimate of a network that trains in so many GB with two patches in a batch.
_REFERENCES = {"ResidualEncoderUNet": (2.1e9, 24.0), "PlainConvUNet": (5.6e8, 8.0)}
_PATCHES_OF_REFERENCE = 2


def plans_to_start_from(
    model: StartModel, own: dict, dataset_json: dict, name: str, gpu_memory: float
) -> tuple[dict, list[str]]:
    """Plans with a model's network, and in what they differ from the dataset's own, one sentence for each difference.

    Args:
        model: to start from.
        own: plans that nnU-Net made for the dataset.
        dataset_json: of the dataset.
        name: of the new plans.
        gpu_memory: GB that a batch should fit into.

    Raises:
        UserError: the dataset has another number of image channels than the model.
    """
    channels = count_image_channels(dataset_json)
    if channels != model.described.image_channels:
        raise UserError(
            f"The model takes images of {model.described.image_channels} channel(s), but {own['dataset_name']} has "
            f"{channels}; make a dataset of the channel(s) that the model knows."
        )
    backward = own["transpose_backward"]
    spacing = [float(own["original_median_spacing_after_transp"][axis]) for axis in backward]
    shape = [float(own["original_median_shape_after_transp"][axis]) for axis in backward]
    batch, note = _batch_size(model, gpu_memory)
    configuration = {
        "data_identifier": f"{name}_{CONFIGURATION}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": batch,
        "patch_size": list(model.settings["patch_size"]),
        "median_image_size_in_voxels": shape,
        "spacing": spacing,  # for information: images keep their own
        "normalization_schemes": [SESSION_NORMALISATION] * channels,
        "use_mask_for_norm": [False] * channels,
        **{
            f"resampling_fn_{what}{ending}": value
            for what in ("data", "seg", "probabilities")
            for ending, value in (("", NO_RESAMPLING), ("_kwargs", {}))
        },
        "architecture": model.settings["architecture"],
        "batch_dice": False,
    }
    plans = {key: value for key, value in own.items() if key != "configurations"} | {
        "plans_name": name,
        "original_median_spacing_after_transp": spacing,
        "original_median_shape_after_transp": shape,
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {CONFIGURATION: configuration},
    }
    return plans, [*_differences(plans, own), *note]


def describe_network(settings: Mapping[str, Any]) -> str:
    """The network of a configuration in a few words.

    Args:
        settings: of the configuration, inheritance resolved.
    """
    architecture = settings["architecture"]
    kwargs = architecture["arch_kwargs"]
    blocks = kwargs.get("n_blocks_per_stage", kwargs.get("n_conv_per_stage", "?"))
    features = _list(kwargs.get("features_per_stage", "?"))
    return f"{architecture['network_class_name'].split('.')[-1]} with {features} features and {_list(blocks)} blocks"


def memory_of_a_patch(model: StartModel) -> float:
    """GB that training takes for each patch of a batch, by the estimate of nnU-Net's planners."""
    network = model.network_without_weights()
    reference, corresponding = _REFERENCES.get(type(network).__name__, _REFERENCES["PlainConvUNet"])
    size = network.compute_conv_feature_map_size(model.settings["patch_size"])
    return size / reference * corresponding / _PATCHES_OF_REFERENCE


def _batch_size(model: StartModel, gpu_memory: float) -> tuple[int, list[str]]:
    """How many patches fit by nnU-Net's own estimate, at least one, at most as many as the model was trained with."""
    per_patch = memory_of_a_patch(model)
    batch = max(1, min(int(gpu_memory / per_patch), int(model.settings.get("batch_size", _PATCHES_OF_REFERENCE))))
    if per_patch <= gpu_memory:
        return batch, []
    return batch, [
        f"Memory: by nnU-Net's estimate even one patch needs {per_patch:.0f} GB to train, more than {gpu_memory:g} GB."
    ]


def _differences(plans: dict, own: dict) -> list[str]:
    """In what plans differ from the dataset's own, which may lack the configuration."""
    ours = PlansManager(plans).get_configuration(CONFIGURATION).configuration
    manager = PlansManager(own)
    found = []
    if CONFIGURATION in manager.available_configurations:
        theirs = manager.get_configuration(CONFIGURATION).configuration
        said = {
            "Network": (describe_network(ours), describe_network(theirs)),
            "Patch": (_sizes(ours["patch_size"]) + " voxels", _sizes(theirs["patch_size"]) + " voxels"),
            "Batch size": (str(ours["batch_size"]), str(theirs["batch_size"])),
            "Normalisation": (_schemes(ours), _schemes(theirs)),
        }
        found = [f"{what}: {new}, where the own plans have {old}." for what, (new, old) in said.items() if new != old]
        if is_resampled(theirs):
            found.append(
                "Voxel size: images keep their own, as in nnInteractive, where the own plans resample to "
                f"{_sizes(np.round(theirs['spacing'], 3).tolist())} mm."
            )
    if list(manager.transpose_forward) != [0, 1, 2]:
        found.append(
            "Axes: they keep the order of the files, as in nnInteractive, where the own plans transpose them by "
            f"{list(manager.transpose_forward)}."
        )
    return found


def _list(values: object) -> str:
    return "/".join(map(str, values)) if isinstance(values, (list, tuple)) else str(values)


def _sizes(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _schemes(settings: Mapping[str, Any]) -> str:
    masked = " within the mask" if any(settings["use_mask_for_norm"]) else ""
    return ", ".join(dict.fromkeys(settings["normalization_schemes"])) + masked
