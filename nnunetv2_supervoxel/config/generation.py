"""How supervoxels are made of an image."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from nnunetv2_supervoxel.config.base import ITEMS, Config, Fraction

Axes = tuple[int, ...]
Pairs = tuple[tuple[float, float], ...]
Positive = Annotated[float, Field(gt=0)]
Percentile = Annotated[float, Field(ge=0, le=100)]


class GenerationConfig(Config):
    """How supervoxels are made of an image."""

    method: Literal["sam", "slic"] = "sam"
    """What makes them: sam (SAM proposes, SAM 2 propagates) or slic (SLIC in 3D, without any model)."""

    sam1_checkpoint: str | None = "vit_h"
    """SAM weights: vit_h, vit_l, vit_b, bundled (ours, for trials only), a file's path; null: SAM 2 proposes, too."""

    sam2_checkpoint: str = "large"
    """SAM 2.1 weights: large, base_plus, small, tiny, bundled (ours, for trials only), or the path of a file."""

    sam2_image_size: Annotated[int, Field(ge=64, le=2048, multiple_of=32)] | None = None
    """Pixels to which SAM 2 resizes slices (512 for MedSAM2); null: what the file states, else 1024."""

    masks_per_image: Annotated[int, Field(ge=1)] = 20
    """Supervoxels per case at most; fewer if SAM proposes fewer."""

    file_format: Annotated[tuple[str, ...], Field(min_length=1)] = (".nii.gz",)
    """Folders only: file endings to read, one or a list (.nii.gz, .nrrd, .mha, .b2nd, ...)."""

    excluded_strings: tuple[str, ...] = ()
    """Folders only: skip files whose name contains any of these, one or a list."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Random seed; the same seed gives the same files, for any order and number of workers."""

    axis: Annotated[
        Annotated[Literal["auto"], Tag("auto")]
        | Annotated[tuple[Annotated[int, Field(ge=0, le=2)], ...], Field(min_length=1), Tag(ITEMS)],
        Discriminator(lambda value: "auto" if value == "auto" else ITEMS),
    ] = (0,)
    """Array axis (z, y, x) of slicing; several (a list) take turns; auto: all if voxels are nearly cubes, else one."""

    channel: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, max_length=3)] = (0,)
    """Image channel shown to the models: one index (as grey), or two or three (as red, green, blue)."""

    intensity_percentiles: Annotated[tuple[tuple[Percentile, Percentile], ...], Field(min_length=1, max_length=3)] = (
        (0.5, 99.5),
    )
    """Percentiles of the volume that become black and white; up to three pairs show one channel in three colours."""

    windows: Annotated[tuple[tuple[float, Positive], ...], Field(min_length=1, max_length=3)] | None = None
    """Instead of percentiles: up to three windows [center, width] in the image's units, such as HU, one per colour."""

    keyframes: Annotated[int, Field(ge=1, validate_default=True)] = 1
    """Keyframe slices per case, which share masks_per_image: more of them see more of a large volume."""

    keyframe_spacing_mm: Positive | None = None
    """A keyframe every so many mm within the foreground, along every axis of slicing, and at least `keyframes`."""

    masks_per_keyframe: Annotated[int, Field(ge=1)] | None = None
    """Supervoxels per keyframe at most; null: an equal share of masks_per_image."""

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

    proposal_choice: Literal["random", "score", "diverse"] = "random"
    """Which proposals are taken if there are too many: any, the best predicted IoU, or different sizes and places."""

    max_track_growth: Annotated[float, Field(ge=1)] | None = None
    """Propagation: a track ends where it covers more than this many times its area on the keyframe; null: never."""

    max_supervoxel_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Supervoxels that cover more than this share of the volume are dropped."""

    min_volume_mm3: Positive | None = None
    """Supervoxels that are smaller are dropped."""

    max_volume_mm3: Positive | None = None
    """Supervoxels that are larger are dropped."""

    min_extent_mm: Positive | None = None
    """Supervoxels whose bounding box has no side as long as this are dropped."""

    max_extent_mm: Positive | None = None
    """Supervoxels whose bounding box has a longer side are dropped."""

    min_foreground_share: Fraction = 0.0
    """Supervoxels with a smaller share in the foreground (above Otsu's threshold, holes filled) are dropped."""

    max_overlap_iou: Fraction | None = None
    """Of two supervoxels that overlap more than this (3D IoU), the better one stays; null: both."""

    min_consistency: Fraction | None = None
    """Propagation: Dice with the seed to be reached when a track's ends are tracked back to it; null: not tried."""

    slic_compactness: Positive = 0.1
    """SLIC: how much place counts against intensity; larger values make supervoxels that look more like cubes."""

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
        return (value,) if isinstance(value, (str, int)) and value != "auto" else value

    @field_validator("intensity_percentiles", "windows", mode="before")
    @classmethod
    def _one_pair_or_many(cls, value: object) -> object:
        one = isinstance(value, (list, tuple)) and value and not isinstance(value[0], (list, tuple))
        return (value,) if one else value

    @field_validator("file_format")
    @classmethod
    def _with_dot(cls, endings: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(ending if ending.startswith(".") else f".{ending}" for ending in endings)

    @field_validator("sam2_checkpoint")
    @classmethod
    def _can_propose(cls, checkpoint: str, others: ValidationInfo) -> str:
        if checkpoint == "bundled" and others.data.get("sam1_checkpoint", "") is None:
            raise ValueError(
                "the bundled SAM 2 was never shown points and can't propose objects; set 'sam1_checkpoint: bundled'"
            )
        return checkpoint

    @field_validator("axis")
    @classmethod
    def _different(cls, axes: Axes) -> Axes:
        if len(set(axes)) < len(axes):
            raise ValueError("every axis can be listed once only")
        return axes

    @field_validator("keyframes")
    @classmethod
    def _one_for_every_axis(cls, keyframes: int, others: ValidationInfo) -> int:
        axes = others.data.get("axis", ())
        if axes != "auto" and keyframes < len(axes):
            raise ValueError(f"{len(axes)} axes need as many keyframes at least")
        return keyframes

    @field_validator("intensity_percentiles")
    @classmethod
    def _ascending(cls, pairs: Pairs) -> Pairs:
        if any(low >= high for low, high in pairs):
            raise ValueError("the first percentile must be below the second")
        return pairs

    @field_validator("intensity_percentiles", "windows")
    @classmethod
    def _several_show_one_channel(cls, pairs: Pairs | None, others: ValidationInfo) -> Pairs | None:
        if pairs and len(pairs) > 1 and len(others.data.get("channel", ())) > 1:
            raise ValueError("several windows show one channel in several colours, but 'channel' lists several")
        return pairs

    @field_validator("max_volume_mm3", "max_extent_mm")
    @classmethod
    def _above_the_least(cls, most: float | None, others: ValidationInfo) -> float | None:
        least = others.data.get(str(others.field_name).replace("max", "min"))
        if most is not None and least is not None and least > most:
            raise ValueError(f"it is less than the least that is kept, {least:g}")
        return most

    @model_validator(mode="after")
    def _points_in_every_layer(self) -> GenerationConfig:
        points, layers = self.points_per_side, self.crop_n_layers
        needed = self.crop_n_points_downscale_factor**layers
        if needed > points:
            raise ValueError(f"'points_per_side' is {points}: {layers} layers of crops need {needed} or more")
        return self
