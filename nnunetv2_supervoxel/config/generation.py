"""Settings: one field, one line of doc, one default. YAML files are checked against these classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from nnunetv2_supervoxel.errors import UserError

Fraction = Annotated[float, Field(ge=0, le=1)]
InteractionKind = Literal["point", "box", "scribble", "lasso"]
Config = TypeVar("Config", bound="_Config")


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class GenerationConfig(_Config):
    """How supervoxels are made of an image."""

    sam1_checkpoint: str = "vit_h"
    """SAM weights: vit_h, vit_l, vit_b, bundled (ours, for trials only), or the path of a file."""

    sam2_checkpoint: str = "large"
    """SAM 2.1 weights: large, base_plus, small, tiny, bundled (ours, for trials only), or the path of a file."""

    masks_per_image: Annotated[int, Field(ge=1, le=255)] = 20
    """Supervoxels per case at most; fewer if SAM proposes fewer."""

    file_format: Annotated[tuple[str, ...], Field(min_length=1)] = (".nii.gz",)
    """Folders only: file endings to read, one or a list (.nii.gz, .nrrd, .mha, .b2nd, ...)."""

    excluded_strings: tuple[str, ...] = ()
    """Folders only: skip files whose name contains any of these, one or a list."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Random seed; the same seed gives the same files, for any order and number of workers."""

    axis: Annotated[tuple[Annotated[int, Field(ge=0, le=2)], ...], Field(min_length=1)] = (0,)
    """Array axis (z, y, x) along which the volume is sliced; several (a list) take turns from keyframe to keyframe."""

    channel: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, max_length=3)] = (0,)
    """Image channel shown to the models: one index (as grey), or two or three (as red, green, blue)."""

    intensity_percentiles: tuple[Annotated[float, Field(ge=0, le=100)], Annotated[float, Field(ge=0, le=100)]] = (
        0.5,
        99.5,
    )
    """Percentiles of the volume that become black and white; values outside are clipped."""

    keyframes: Annotated[int, Field(ge=1, validate_default=True)] = 1
    """Keyframe slices per case, which share masks_per_image: more of them see more of a large volume."""

    max_keyframes: Annotated[int, Field(ge=1)] = 3
    """Slices drawn for a keyframe at most: another one is tried when SAM proposes too little (see min_proposals)."""

    min_proposals: Annotated[int, Field(ge=1)] = 1
    """Proposals with which a keyframe slice is content; if none drawn has so many, the one with most is taken."""

    points_per_side: Annotated[int, Field(ge=1)] = 48
    """Proposals: SAM is prompted on a grid of this many points squared."""

    points_per_batch: Annotated[int, Field(ge=1)] = 256
    """Proposals: prompts run at once; halved when memory runs out."""

    pred_iou_thresh: Fraction = 0.92
    """Proposals: SAM's own quality estimate must exceed this."""

    stability_score_thresh: Fraction = 0.92
    """Proposals: the mask's stability under a shifted cut-off must reach this."""

    stability_score_offset: Annotated[float, Field(gt=0)] = 1.0
    """Proposals: the shift of the cut-off (logits) for the stability score."""

    box_nms_thresh: Fraction = 0.6
    """Proposals: of two whose boxes overlap more than this (IoU), the better one stays."""

    crop_nms_thresh: Fraction = 0.6
    """Proposals: the same between crops."""

    crop_n_layers: Annotated[int, Field(ge=0, le=3)] = 1
    """Proposals: layers of image crops that are searched as well; layer i has 4^i crops."""

    crop_n_points_downscale_factor: Annotated[int, Field(ge=1)] = 2
    """Proposals: the grid gets coarser by this factor with each layer of crops."""

    min_mask_region_area: Annotated[int, Field(ge=0)] = 192
    """Proposals: holes and islands smaller than this (pixels) are removed."""

    min_proposal_area: Annotated[int, Field(ge=1)] = 1
    """Proposals: smaller ones (pixels) are dropped."""

    max_proposal_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Proposals: ones that cover more than this share of the slice are dropped."""

    max_track_growth: Annotated[float, Field(ge=1)] | None = None
    """Propagation: a track ends where it covers more than this many times its area on the keyframe; null: never."""

    max_supervoxel_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Supervoxels that cover more than this share of the volume are dropped."""

    objects_per_batch: Annotated[int, Field(ge=1)] = 20
    """Propagation: supervoxels tracked at once; halved when memory runs out."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of SAM 2; auto means bfloat16 on CUDA and float32 elsewhere."""

    @field_validator("file_format", "excluded_strings", "axis", "channel", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        if value is None:
            return ()
        return (value,) if isinstance(value, (str, int)) else value

    @field_validator("file_format")
    @classmethod
    def _with_dot(cls, endings: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(ending if ending.startswith(".") else f".{ending}" for ending in endings)

    @field_validator("axis")
    @classmethod
    def _different(cls, axes: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(axes)) < len(axes):
            raise ValueError("every axis can be listed once only")
        return axes

    @field_validator("keyframes")
    @classmethod
    def _one_for_every_axis(cls, keyframes: int, others: ValidationInfo) -> int:
        axes = others.data.get("axis", ())
        if keyframes < len(axes):
            raise ValueError(f"{len(axes)} axes need as many keyframes at least")
        return keyframes

    @field_validator("intensity_percentiles")
    @classmethod
    def _ascending(cls, percentiles: tuple[float, float]) -> tuple[float, float]:
        if percentiles[0] >= percentiles[1]:
            raise ValueError("the first percentile must be below the second")
        return percentiles


class PromptTrainingConfig(_Config):
    """How SupervoxelPromptTrainer trains and validates. What is left at null comes from nnU-Net."""

    num_epochs: Annotated[int, Field(ge=1)] = 1000
    """Epochs; the trainers named after a length (SupervoxelPromptTrainer_5epochs) go by their name."""

    num_iterations_per_epoch: Annotated[int, Field(ge=1)] = 250
    """Training steps per epoch."""

    num_val_iterations_per_epoch: Annotated[int, Field(ge=1)] = 50
    """Validation batches per epoch."""

    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Patches per step, over all GPUs; null: the plans' batch size."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """nnU-Net's SGD, or AdamW, which gets further in short trainings (set initial_lr to about 0.001)."""

    initial_lr: Annotated[float, Field(gt=0)] = 1e-2
    """Learning rate of the first epoch, from which nnU-Net's polynomial schedule falls to 0."""

    cpu_bfloat16: bool = False
    """On a CPU, autocast to bfloat16: faster on CPUs that have AMX or AVX512-BF16. GPUs use mixed precision always."""

    augmentation: Literal["nnunet", "mirroring", "none"] = "nnunet"
    """Of training patches: nnU-Net's, its mirroring alone (which gets further in short trainings), or none."""

    real_label_fraction: Fraction = 0.0
    """Probability that a training object is a connected component of a real label instead of a supervoxel."""

    min_target_voxels: Annotated[int, Field(ge=1)] = 50
    """Objects with fewer voxels in the patch are drawn anew."""

    max_patch_shift: Annotated[float, Field(ge=0, lt=0.5)] = 0.25
    """How far a training object may lie from the middle of its patch, as a share of the patch."""

    datasets: dict[str, Annotated[float, Field(gt=0)]] = {}
    """Further preprocessed datasets to train on, ID or name: weight; the command line's dataset has weight 1."""

    max_rounds: Annotated[int, Field(ge=1)] = 4
    """Interactions in one training step: 1 to this many, drawn evenly; the loss looks at the last one's prediction."""

    naming_fraction: Fraction = 0.0
    """Share of steps in which nothing is prompted and the network names the class of supervoxels, for fine-tuning."""

    naming_classes: Annotated[int, Field(ge=2)] = 24
    """Classes to name: clusters of supervoxels by place, size and shape, so many in each dataset."""

    interactions: dict[InteractionKind, Annotated[float, Field(ge=0)]] = {
        "point": 0.4,
        "box": 0.2,
        "scribble": 0.2,
        "lasso": 0.2,
    }
    """Interaction types and how often each is drawn (relative weights); one that is left out is never drawn."""

    point_radius: Annotated[int, Field(ge=1)] = 4
    """Radius of a point's ball in voxels; nnInteractive's models use 4."""

    interaction_decay: Annotated[float, Field(gt=0, le=1)] = 0.98
    """Older interactions fade by this factor with every new one; nnInteractive's default is 0.98."""

    validation_interactions: Annotated[int, Field(ge=1)] = 5
    """Final validation: interactions per object."""

    validation_objects_per_case: Annotated[int, Field(ge=1)] = 20
    """Final validation: supervoxels, and as many components of real labels, per case at most."""

    @property
    def never_prompts(self) -> bool:
        """Whether no step of the training has a prompt."""
        return self.naming_fraction == 1

    @field_validator("datasets", mode="before")
    @classmethod
    def _names_as_text(cls, datasets: object) -> object:
        if datasets is None:
            return {}
        return {str(name): weight for name, weight in datasets.items()} if isinstance(datasets, dict) else datasets

    @field_validator("interactions")
    @classmethod
    def _something_to_draw(cls, weights: dict[str, float]) -> dict[str, float]:
        if not sum(weights.values()) > 0:
            raise ValueError("at least one interaction type needs a weight above 0")
        return weights


def load_config(path: Path | str, config_class: type[Config]) -> Config:
    """Read a YAML file into `config_class`; missing keys keep their defaults.

    Raises:
        UserError: no such file, not YAML, an unknown key, a wrong type or value.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(f"The config {path} can't be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"The config {path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise UserError(f"The config {path} must hold 'key: value' lines, but holds a {type(content).__name__}.")
    try:
        return config_class(**content)
    except (ValidationError, TypeError) as error:
        raise UserError(f"The config {path} is wrong: {_explain(error, config_class)}.") from error


def _explain(error: Exception, config_class: type[BaseModel]) -> str:
    """pydantic's findings as one sentence that names the keys."""
    if not isinstance(error, ValidationError):
        return str(error)
    findings = error.errors()
    unknown = [f"'{finding['loc'][0]}'" for finding in findings if finding["type"] == "extra_forbidden"]
    parts = []
    if unknown:
        known = ", ".join(config_class.model_fields)
        parts.append(f"unknown key{'s' if len(unknown) > 1 else ''} {', '.join(unknown)} (known: {known})")
    for finding in findings:
        # Of a list with a wrong item pydantic says, too, that it is too short without that item.
        inside = any(
            other["loc"][: len(finding["loc"])] == finding["loc"] for other in findings if other is not finding
        )
        if finding["type"] == "extra_forbidden" or (finding["type"] == "too_short" and inside):
            continue
        key = ".".join(str(part) for part in finding["loc"])
        parts.append(f"'{key}' is {finding['input']!r}: {finding['msg'].lower()}")
    return "; ".join(parts)
