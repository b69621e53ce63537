"""nnU-Net on a small budget. In benchmark_pretraining.py, nnUNet_extTrainer points at this file's folder."""

import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_supervoxel.threads_and_heap import take_threads_asked_for
from nnunetv2_supervoxel.training.warm_up import WarmUpPolyLR


class FewCasesTrainer(nnUNetTrainer):
    """nnU-Net's own training, with another length, optimizer and seed, and in bfloat16, which CPUs support, too.

    The optimizer is AdamW, because SGD learns nothing in the first few hundred steps. The environment variable
    ``benchmark_training`` holds as JSON: num_epochs, warmup_epochs, num_iterations_per_epoch, initial_lr, and the seed
    of the initial weights and of all that is drawn in training.
    """

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008 (nnU-Net looks at this signature)
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        settings = json.loads(os.environ["benchmark_training"])
        seed = settings.pop("seed")
        for name, value in settings.items():
            setattr(self, name, value)
        self.num_val_iterations_per_epoch = 1
        take_threads_asked_for()
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)

    def configure_optimizers(self) -> tuple:
        """AdamW with nnU-Net's schedule, which may begin with a warm-up."""
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.initial_lr)
        if self.warmup_epochs:
            return optimizer, WarmUpPolyLR(optimizer, self.initial_lr, self.num_epochs, self.warmup_epochs)
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    def train_step(self, batch: dict) -> dict:
        """As in nnU-Net."""
        with _bfloat16():
            return super().train_step(batch)

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """As in nnU-Net."""
        with _bfloat16():
            super().perform_actual_validation(save_probabilities)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple:  # noqa: N802
        """As in nnU-Net, but the final validation predicts once, not once per mirroring, to save time."""
        configured = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        self.inference_allowed_mirroring_axes = None
        return configured


@contextmanager
def _bfloat16() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16):
        yield
