"""A learning rate that first rises, then falls as nnU-Net's.

After nnU-Net's ``nnUNetTrainer_warmup`` (2.8): weights that are good already aren't thrown about by the first steps.
Wald et al. (An OpenMind for 3D medical vision self-supervised learning, ICCV 2025) found that the schedule of a
fine-tuning matters much; nnU-Net's trainer for their networks warms up in the same way, to a rate of 0.001.
"""

from __future__ import annotations

import torch
from nnunetv2.training.lr_scheduler.warmup import PolyLRScheduler_offset

SHARE = 0.05  # of all epochs; nnUNetTrainer_warmup has 50 of 1000


class WarmUpPolyLR(PolyLRScheduler_offset):
    """The learning rate rises linearly over the first epochs; from then on it is nnU-Net's polynomial.

    Args:
        optimizer: whose learning rate.
        initial_lr: the highest learning rate.
        epochs: of the whole training.
        warmup_epochs: in which it rises; less than `epochs`.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, initial_lr: float, epochs: int, warmup_epochs: int) -> None:
        super().__init__(optimizer, initial_lr, epochs, warmup_epochs)

    def step(self, current_step: int | None = None) -> None:
        """Set the learning rate of an epoch, counted from 0."""
        super().step(current_step)
        if current_step is not None and current_step < self.start_step:
            for group in self.optimizer.param_groups:
                group["lr"] = self.initial_lr * (current_step + 1) / self.start_step
