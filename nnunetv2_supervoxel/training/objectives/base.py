"""What the trainer asks an objective for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn

from nnunetv2_supervoxel.config.base import Config
from nnunetv2_supervoxel.training.dataset import UNKNOWN, LabelUse, PromptDataset
from nnunetv2_supervoxel.training.sampling import Sampler

if TYPE_CHECKING:
    from nnunetv2_supervoxel.training.trainer import SupervoxelTrainer


HEADS = "objective_heads"  # the network's attribute for an objective's heads, and so the prefix of their weights' names


class NoSettings(Config):
    """The settings of an objective that has none."""


class Objective(ABC):
    """Decides what a batch shows, which outputs the network gets for it, the loss, and the validation.

    The trainer owns everything else: network, optimizer, schedule, loaders, checkpoints.

    Args:
        trainer: its network learns. Before `trainer.initialize`, only its config, plans and device exist.
        settings: an instance of `Settings`.

    Attributes:
        Settings: the class of the objective's settings.
        needs_features: whether it reads outputs of modules inside the network. If so, the network isn't compiled.
        real_label_fraction: probability that the object of a place is a component of a real label.
    """

    Settings: ClassVar[type[Config]] = NoSettings
    needs_features: ClassVar[bool] = False
    real_label_fraction: float = 0.0

    def __init__(self, trainer: SupervoxelTrainer, settings: Config) -> None:
        self.trainer = trainer
        self.settings = settings

    def label_use(self, training: bool) -> LabelUse:
        """Whether cases without supervoxels are used for their labels, in training or in validation."""
        return "never"

    @abstractmethod
    def samplers(self, train: Sequence[PromptDataset], validation: PromptDataset) -> tuple[Sampler, Sampler]:
        """The samplers of training and of validation. Both are pickled for the loaders' workers.

        Raises:
            UserError: the datasets don't hold what is needed.
        """

    def heads(self, decoder: Any) -> nn.Module | None:
        """Layers that only this objective needs; they are trained with the network, and exports leave them out."""
        return None

    def loss(self, usual: nn.Module) -> nn.Module:
        """The loss to train with, made from nnU-Net's usual one."""
        return usual

    def notes(self) -> list[str]:
        """What the log should say when a training begins."""
        return []

    def on_train_epoch_start(self, epoch: int) -> None:
        """Called before an epoch's first step."""
        return

    @abstractmethod
    def train_step(self, batch: dict) -> dict:
        """One step on a batch; ends in `trainer.step`, whose result it returns."""

    def on_validation_epoch_start(self) -> None:
        """Called before an epoch's first validation batch."""
        return

    @abstractmethod
    def validation_step(self, batch: dict) -> dict:
        """Validate one batch without gradients. Returns what nnU-Net's `validation_step` does, and more if needed."""

    def on_validation_epoch_end(self, outputs: list[dict]) -> None:
        """Log what nnU-Net doesn't know, and remove it from the outputs."""
        return

    def validate(self) -> None:
        """The final validation, on whole cases. Without prompts there is nothing to outline: only a line is logged."""
        self.trainer.print_to_log_file("Nothing was prompted in this training, so there are no curves to validate.")


def ignore_unknown(loss: Any) -> None:
    """Let nnU-Net's loss, with or without deep supervision, ignore voxels whose target is `UNKNOWN`."""
    at_one_scale = getattr(loss, "loss", loss)
    at_one_scale.ignore_label = at_one_scale.ce.ignore_index = UNKNOWN


def hits_and_misses(said: torch.Tensor, true: torch.Tensor) -> dict[str, np.ndarray]:
    """Voxels of one class as nnU-Net counts them for its pseudo Dice, by its names; both arguments are boolean."""
    counted = {"tp_hard": said & true, "fp_hard": said & ~true, "fn_hard": ~said & true}
    return {name: np.array([int(voxels.sum())]) for name, voxels in counted.items()}
