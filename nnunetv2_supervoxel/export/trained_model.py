"""A trained model, as nnUNetv2_train left it in nnU-Net's results folder."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_supervoxel.config import PretrainingConfig, PromptTrainingConfig
from nnunetv2_supervoxel.config.loading import check_settings
from nnunetv2_supervoxel.errors import UserError, last_line
from nnunetv2_supervoxel.files.nnunet_folders import trained_checkpoint
from nnunetv2_supervoxel.files.preprocessed import count_image_channels
from nnunetv2_supervoxel.prompts.encoding import NUM_CHANNELS
from nnunetv2_supervoxel.training.objectives.base import HEADS

# nnU-Net stores numpy scalars in its checkpoints, and could store arrays. All else in them is weights and plain data.
_SCALAR = np.float64(0).__reduce__()[0]  # the functions that make them
_ARRAY = np.zeros(0).__reduce__()[0]
_HARMLESS: list[Any] = [
    (_SCALAR, "numpy._core.multiarray.scalar"),
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_ARRAY, "numpy._core.multiarray._reconstruct"),
    (_ARRAY, "numpy.core.multiarray._reconstruct"),
    np.ndarray,
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int32, np.int64, np.bool_)),
]

START_MODEL_FILE = "start_model.json"  # what a training notes of the model that it started from

# Weights of these names are an objective's heads. Only the training needs them. Earlier versions used "naming.".
_ONLY_IN_TRAINING = (f"{HEADS}.", "naming.")

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """Everything about a trained model that an export needs.

    Attributes:
        fold: "0", ..., or "all".
        configuration: of the plans, such as 3d_fullres.
        plans: content of plans.json.
        dataset_json: content of dataset.json.
        weights: of the network, image and interaction channels in, two channels out.
        prompts: settings of the training; None if it was without prompts.
        mirror_axes: axes (0 to 2) along which the training mirrored.
        start: what the training noted of the model that it started from, see `StartModel.provenance`; None: of none.
    """

    fold: str
    configuration: str
    plans: dict
    dataset_json: dict
    weights: Weights
    prompts: PromptTrainingConfig | None
    mirror_axes: tuple[int, ...] | None
    start: dict | None = None

    @property
    def image_channels(self) -> int:
        """Number of channels of the images, without the interactions'."""
        return count_image_channels(self.dataset_json)


def load_trained_model(
    dataset: str, trainer: str, plans: str, configuration: str, fold: str, checkpoint: str = "checkpoint_final.pth"
) -> TrainedModel:
    """Load a model from $nnUNet_results, named as on nnUNetv2_train's command line.

    Raises:
        UserError: nothing was trained under these names, a file is damaged, or the network isn't a prompt model.
    """
    path = trained_checkpoint(dataset, trainer, plans, configuration, fold, checkpoint)
    folder, content = path.parent, load_checkpoint(path)
    model = TrainedModel(
        fold=str(fold),
        configuration=configuration,
        plans=_read_json(folder.parent / "plans.json"),
        dataset_json=_read_json(folder.parent / "dataset.json"),
        weights={name: w for name, w in content["network_weights"].items() if not name.startswith(_ONLY_IN_TRAINING)},
        prompts=_prompt_settings(folder),
        mirror_axes=content.get("inference_allowed_mirroring_axes"),
        start=_read_json(folder / START_MODEL_FILE) if (folder / START_MODEL_FILE).is_file() else None,
    )
    channels = model.image_channels + NUM_CHANNELS
    try:
        expected = network_shapes(model.plans, configuration, channels, 2)
    except Exception as error:  # nnU-Net and its networks each fail in their own way on wrong plans
        plan = folder.parent / "plans.json"
        raise UserError(f"{plan} describes no network for '{configuration}' ({last_line(error)}).") from error
    if misfit := first_difference(shapes_of(model.weights), expected):
        raise UserError(f"{path} doesn't fit its own plans as a prompt model: {misfit}.")
    return model


def load_checkpoint(path: Path) -> dict[str, Any]:
    """An nnU-Net checkpoint, on the CPU, read without running code from it.

    Raises:
        UserError: the file is missing, damaged, or holds more than weights and plain data.
    """
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        weights = content["network_weights"]
        if not all(isinstance(value, torch.Tensor) for value in weights.values()):
            raise TypeError("its network_weights are not tensors")
    except Exception as error:  # a damaged pickle can raise nearly anything
        if asked := re.search(r"(?:Unsupported \w+:|unsupported) (?:GLOBAL )?([\w.]+)", str(error)):
            raise UserError(
                f"{path} holds more than weights and plain data: it asks for {asked[1]}, and could run code when it is "
                "opened in other ways; get it from whom you trust."
            ) from error
        raise UserError(
            f"{path} is damaged, or isn't an nnU-Net checkpoint that can be read safely; copy it again."
        ) from error
    return content


def network_shapes(plans: dict, configuration: str, input_channels: int, outputs: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of the network that nnU-Net builds from plans."""
    return shapes_of(network_without_weights(plans, configuration, input_channels, outputs).state_dict())


def network_without_weights(plans: dict, configuration: str, input_channels: int, outputs: int) -> torch.nn.Module:
    """The network that nnU-Net builds from plans, on PyTorch's meta device: no memory is used for the weights."""
    manager = PlansManager(plans)
    with torch.device("meta"):
        return nnUNetTrainer.build_network_architecture(
            manager, manager.get_configuration(configuration), input_channels, outputs, True
        )


def shapes_of(weights: Weights) -> dict[str, tuple[int, ...]]:
    """Name to shape."""
    return {name: tuple(value.shape) for name, value in weights.items()}


def first_difference(have: dict[str, tuple[int, ...]], want: dict[str, tuple[int, ...]]) -> str | None:
    """The first difference between two networks, in words that name the layer. None if there is none."""
    for name, shape in want.items():
        if name not in have:
            return f"layer {name} is missing"
        if have[name] != shape:
            return f"layer {name} has shape {have[name]}, but {shape} is needed"
    extra = next((name for name in have if name not in want), None)
    return f"layer {extra} should not be there" if extra else None


def _prompt_settings(folder: Path) -> PromptTrainingConfig | None:
    """The settings that a prompt training left in its folder. None for a training without prompts.

    In earlier versions naming had no trainer of its own. It was a setting of prompt trainings.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / f"{PromptTrainingConfig.name}.json"
    if (folder / f"{PretrainingConfig.name}.json").is_file() or _read_json(path).get("naming_fraction") == 1:
        return None
    settings = _read_json(path)
    settings.pop("naming_fraction", None)
    return check_settings(settings, PromptTrainingConfig, f"{path} is wrong")


def _read_json(path: Path) -> dict:
    try:
        return dict(json.loads(path.read_text()).items())
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} is missing or damaged; nnUNetv2_train writes it when a training begins, so train again."
        ) from error
