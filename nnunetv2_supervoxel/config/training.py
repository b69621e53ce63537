"""How the trainers train. Settings that are null come from nnU-Net."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from nnunetv2_supervoxel.config.base import Config, Fraction

InteractionKind = Literal["point", "box", "scribble", "lasso"]

_INTERACTIONS: dict[InteractionKind, float] = {"point": 0.4, "box": 0.2, "scribble": 0.2, "lasso": 0.2}

_OF_NAMING = ("naming_fraction", "naming_classes")  # settings of prompt trainings until naming had its own trainer


class TrainingConfig(Config):
    """What all trainers have in common.

    Attributes:
        name: of the template. With ".json" it is the name of the file that a training leaves in its output folder.
    """

    name: ClassVar[str]

    num_epochs: Annotated[int, Field(ge=1)] = 1000
    """Number of epochs. Trainers named after a number, such as ..._5epochs, use that number instead."""

    num_iterations_per_epoch: Annotated[int, Field(ge=1)] = 250
    """Training steps per epoch."""

    num_val_iterations_per_epoch: Annotated[int, Field(ge=1)] = 50
    """Validation batches per epoch."""

    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Patches per step, over all GPUs; null: the plans' batch size."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """nnU-Net's SGD, or AdamW, which gives better results in short trainings (set initial_lr to about 0.001)."""

    initial_lr: Annotated[float, Field(gt=0)] = 1e-2
    """Highest learning rate, from which nnU-Net's schedule falls to 0. Prompts with start_from: a tenth, unless set."""

    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    """First epochs, in which the rate rises to initial_lr. Prompts with start_from: a twentieth of all, unless set."""

    cpu_bfloat16: bool = False
    """On a CPU, autocast to bfloat16: faster on CPUs that have AMX or AVX512-BF16. GPUs always use mixed precision."""

    augmentation: Literal["nnunet", "mirroring", "none"] = "nnunet"
    """Of training patches: all of nnU-Net's, its mirroring alone (better in short trainings), or none."""

    min_target_voxels: Annotated[int, Field(ge=1)] = 50
    """If an object has fewer voxels in the patch, another object is drawn."""

    max_patch_shift: Annotated[float, Field(ge=0, lt=0.5)] = 0.25
    """How far a training object may lie from the middle of its patch, as a share of the patch."""

    datasets: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Further preprocessed datasets to train on, as ID or name: weight. The command line's dataset has weight 1."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        """A key that is null counts as left out, so that a copied template sets nothing that others decide."""
        return (
            {key: value for key, value in values.items() if value is not None or key not in cls.model_fields}
            if isinstance(values, dict)
            else values
        )

    @model_validator(mode="after")
    def _warm_before_the_end(self) -> TrainingConfig:
        if self.warmup_epochs >= self.num_epochs and self.warmup_epochs:
            raise ValueError(f"'warmup_epochs' is {self.warmup_epochs}: it must be less than num_epochs")
        return self

    @field_validator("datasets", mode="before")
    @classmethod
    def _names_as_text(cls, datasets: object) -> object:
        return {str(name): weight for name, weight in datasets.items()} if isinstance(datasets, dict) else datasets


class PromptTrainingConfig(TrainingConfig):
    """How SupervoxelPromptTrainer trains and validates."""

    name = "prompt_training"

    start_from: str | None = None
    """Model folder for nnInteractive (official, or an export) whose weights the training starts from; null: none."""

    start_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """With start_from: share of the start model's weights in the final ones, so that less of it is forgotten."""

    real_label_fraction: Fraction = 0.0
    """Probability that a training object is a connected component of a real label instead of a supervoxel."""

    max_rounds: Annotated[int, Field(ge=1)] = 4
    """Most interactions per training step; 1 to this many are equally likely. The loss uses the last prediction."""

    interactions: dict[InteractionKind, Annotated[float, Field(ge=0)]] = Field(default=_INTERACTIONS)
    """Interaction types and how often each is drawn (relative weights). With start_from those it knows, unless set."""

    point_radius: Annotated[int, Field(ge=1)] = 4
    """Radius of a point's ball in voxels; nnInteractive's models use 4. With start_from the model's, unless set."""

    scribble_thickness: Annotated[int, Field(ge=1)] = 2
    """Thickness of scribbles in voxels; nnInteractive prefers 2. With start_from the model's, unless set."""

    interaction_decay: Annotated[float, Field(gt=0, le=1)] = 0.98
    """Older interactions fade by this factor with every new one. With start_from the model's, unless set."""

    validation_interactions: Annotated[int, Field(ge=1)] = 5
    """Final validation: interactions per object."""

    validation_objects_per_case: Annotated[int, Field(ge=1)] = 20
    """Final validation: greatest number of supervoxels per case, and of components of real labels."""

    @model_validator(mode="before")
    @classmethod
    def _without_naming(cls, values: Any) -> Any:
        """Leave out two settings that files of earlier versions have. With `naming_fraction: 0` they had no effect."""
        if not isinstance(values, dict):
            return values
        if values.get("naming_fraction", 0) != 0:
            raise ValueError("'naming_fraction' isn't a setting any more: train with -tr SupervoxelPretrainTrainer")
        return {key: value for key, value in values.items() if key not in _OF_NAMING}

    @field_validator("interactions")
    @classmethod
    def _something_to_draw(cls, weights: dict[str, float]) -> dict[str, float]:
        if not sum(weights.values()) > 0:
            raise ValueError("at least one interaction type needs a weight above 0")
        return weights

    @model_validator(mode="after")
    def _share_of_something(self) -> PromptTrainingConfig:
        if self.start_share and self.start_from is None:
            raise ValueError("'start_share' needs a start model; name one in 'start_from', or leave 'start_share' out")
        return self


class PretrainingConfig(TrainingConfig):
    """How SupervoxelPretrainTrainer trains."""

    name = "pretraining"

    objective: str = "naming"
    """What the network learns: naming (the class of every supervoxel) or in_context (find it in another view)."""

    objective_settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of the objective, by name (see the section of each objective in docs/reference/settings.md)."""
