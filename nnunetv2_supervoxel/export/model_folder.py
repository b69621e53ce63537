"""A folder that nnInteractive's session opens. This module imports nothing heavy, so that mistakes show at once.

Reference: PyPI ``nninteractive`` (2.5 to 2.6), ``nnInteractiveInferenceSession._load_capability_and_runtime_defaults``
and what follows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_supervoxel.config.training import InteractionKind
from nnunetv2_supervoxel.errors import UserError

# What the session calls our types of interactions.
SESSION_NAMES: dict[InteractionKind, str] = {
    "point": "points",
    "box": "bbox2d",
    "scribble": "scribble",
    "lasso": "lasso",
}
# In which of the channels behind the image's the session enters them: positive, negative.
SESSION_CHANNELS = {"bbox2d": (1, 2), "lasso": (1, 2), "points": (3, 4), "scribble": (5, 6)}
INTERACTION_CHANNELS = 7  # with the previous segmentation, which is the first
OFFICIAL_DATASET = "Dataset225_nnInteractiveV2"  # of the first official model, which came without a LICENSE file
OFFICIAL_LICENSE = "CC BY-NC-SA 4.0"


@dataclass(frozen=True)
class ModelFolder:
    """What a model folder says of its model. The weights are not read.

    Attributes:
        folder: the folder itself.
        checkpoint: file of the weights.
        plans: content of plans.json.
        dataset_json: content of dataset.json.
        interactions: the types that the model answers.
        point_radius: of a point's ball, in voxels.
        scribble_thickness: in voxels, along each axis.
        interaction_decay: factor by which older interactions fade.
        pad_mode: how the session fills patches beyond an image, as numpy names it.
        license: text of the model's licence; None if the folder doesn't say it.
    """

    folder: Path
    checkpoint: Path
    plans: dict
    dataset_json: dict
    interactions: tuple[InteractionKind, ...]
    point_radius: int
    scribble_thickness: tuple[int, int, int]
    interaction_decay: float
    pad_mode: str
    license: str | None

    @property
    def image_channels(self) -> int:
        """Number of channels of the images, without the interactions'."""
        return len(self.dataset_json.get("channel_names") or self.dataset_json["modality"])


def checkpoint_of(model: Path) -> Path:
    """The checkpoint in a model folder.

    Raises:
        UserError: it isn't such a folder.
    """
    checkpoints = sorted(model.glob("fold_*/checkpoint_final.pth"))
    if len(checkpoints) != 1 or _info_file(model) is None:
        raise UserError(
            f"{model} isn't a model folder for nnInteractive (inference_info.json and one fold_X with "
            "checkpoint_final.pth); make one with nnUNetv2_supervoxel_export --format nninteractive."
        )
    return checkpoints[0]


def read_model_folder(folder: Path) -> ModelFolder:
    """Read all but the weights of an official model folder, or of one of our exports.

    Raises:
        UserError: it isn't such a folder, a file in it is damaged, or its interactions enter other channels than ours.
    """
    checkpoint = checkpoint_of(folder)
    plans, dataset_json = _read(folder / "plans.json"), _read(folder / "dataset.json")
    if not isinstance(plans.get("configurations"), dict):
        raise UserError(f"{folder / 'plans.json'} isn't nnU-Net's plans: it has no configurations.")
    if not isinstance(dataset_json.get("channel_names") or dataset_json.get("modality"), (dict, list)):
        raise UserError(f"{folder / 'dataset.json'} doesn't name the image channels (channel_names).")
    info = _read_info(folder)
    try:
        _check_channels(info)
        return ModelFolder(
            folder=folder,
            checkpoint=checkpoint,
            plans=plans,
            dataset_json=dataset_json,
            interactions=_supported(info),
            point_radius=_number(info, "point_radius", 4, lowest=1),
            scribble_thickness=_thickness(info.get("preferred_scribble_thickness", 2)),
            interaction_decay=_decay(info.get("interaction_decay", 0.98)),
            pad_mode=str(info.get("pad_mode_image", "constant")),
            license=_license(folder, plans),
        )
    except (ValueError, OverflowError) as error:
        raise UserError(f"{_info_file(folder)} describes a model that can't be trained on here: {error}.") from error


def _info_file(folder: Path) -> Path | None:
    """The file that describes interactions: today's, or that of the first official models."""
    names = ("inference_info.json", "inference_session_class.json")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_info(folder: Path) -> dict:
    path = _info_file(folder)
    assert path is not None
    content = _read_json(path)
    if isinstance(content, str) and path.name == "inference_session_class.json":
        return {"interaction_decay": 0.9}  # the oldest ones name their session, which had this decay
    return _as_object(content, path)


def _check_channels(info: Mapping[str, Any]) -> None:
    """Check that interactions enter the channels that ours do.

    Raises:
        ValueError: they don't.
    """
    channels = info.get("interaction_channels", INTERACTION_CHANNELS - 1)  # without the previous segmentation
    if channels != INTERACTION_CHANNELS - 1:
        raise ValueError(f"it has {channels!r} interaction channels instead of {INTERACTION_CHANNELS - 1}")
    mapping = info.get("channel_mapping", {})
    if not isinstance(mapping, dict):
        raise ValueError("its channel_mapping is no object")
    for name, ours in {"prev_seg": (0,), **SESSION_CHANNELS}.items():
        theirs = mapping.get(name, ours)
        theirs = theirs if isinstance(theirs, (list, tuple)) else [theirs]
        # Negative numbers count from the last channel.
        if not all(type(i) is int for i in theirs) or tuple(i % INTERACTION_CHANNELS for i in theirs) != ours:
            raise ValueError(f"it has '{name}' in channel {theirs} instead of {list(ours)}")


def _supported(info: Mapping[str, Any]) -> tuple[InteractionKind, ...]:
    named = info.get("supported_interactions", {})
    if not isinstance(named, dict):
        raise ValueError("its supported_interactions are no object")
    supported = tuple(kind for kind, name in SESSION_NAMES.items() if named.get(name, True))
    if not supported:
        raise ValueError("it answers neither points, boxes, scribbles nor lassos")
    return supported


def _number(info: Mapping[str, Any], name: str, default: int, lowest: int, highest: int = 100) -> int:
    value = info.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise ValueError(f"its {name} is {value!r}, which is no whole number")
    if not lowest <= value <= highest:
        raise ValueError(f"its {name} is {value!r}, which isn't from {lowest} to {highest}")
    return int(value)


def _thickness(value: object) -> tuple[int, int, int]:
    sizes = value if isinstance(value, list) else [value] * 3
    if len(sizes) != 3:
        raise ValueError(f"its preferred_scribble_thickness is {value!r}, which isn't one number for each axis")
    name = "preferred_scribble_thickness"
    z, y, x = (_number({name: size}, name, 2, lowest=1) for size in sizes)
    return z, y, x


def _decay(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise ValueError(f"its interaction_decay is {value!r}, which isn't above 0 and up to 1")
    return float(value)


def _license(folder: Path, plans: Mapping[str, Any]) -> str | None:
    path = folder / "LICENSE"
    text = path.read_text(errors="replace").strip() if path.is_file() else ""
    return text or (OFFICIAL_LICENSE if plans.get("dataset_name") == OFFICIAL_DATASET else None)


def _read(path: Path) -> dict:
    return _as_object(_read_json(path), path)


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else "is damaged"
        raise UserError(f"{path} {reason}, so {path.parent} can't be read as a model folder; copy it again.") from error


def _as_object(content: object, path: Path) -> dict:
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__} instead of a JSON object; copy it again.")
    return content
