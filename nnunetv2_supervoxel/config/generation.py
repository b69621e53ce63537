"""How supervoxels are made of an image."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from nnunetv2_supervoxel.config.base import Config, Fraction


class GenerationConfig(Config):
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

    keep_slices: Literal["auto", "device", "host", "never"] = "auto"
    """Propagation: where encoded slices wait for the second direction; auto: where memory is free, else never."""

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
