"""Naming supervoxels without a prompt, so that features show which part of the body they belong to.

A network can outline what a prompt points at, and know little about what it is. Here the network sees the image alone.
For every voxel it must predict the class of the voxel's supervoxel (see `supervoxel_classes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import nn

from nnunetv2_supervoxel.config.base import Config
from nnunetv2_supervoxel.training.dataset import UNKNOWN, PromptDataset
from nnunetv2_supervoxel.training.features import outputs_of, zero_of
from nnunetv2_supervoxel.training.objectives.base import Objective, ignore_unknown
from nnunetv2_supervoxel.training.rounds import without_prompts
from nnunetv2_supervoxel.training.sampling import Place, Sampler, Scales, finest, to_device
from nnunetv2_supervoxel.training.supervoxel_classes import SupervoxelClasses, make_classes


class NamingSettings(Config):
    """Settings of the objective `naming`."""

    classes: Annotated[int, Field(ge=2)] = 24
    """Number of classes in each dataset. They are clusters of supervoxels by place, size and shape."""


class ClassSampler(Sampler):
    """Shows the class of every voxel, as "classes".

    Args:
        classes: of the supervoxels of each dataset.
    """

    name = "classes"

    def __init__(self, classes: Sequence[SupervoxelClasses]) -> None:
        self.classes = classes

    def segmentation(self, place: Place) -> np.ndarray:
        """The classes of all voxels, see `SupervoxelClasses.patch`."""
        return self.classes[place.dataset].patch(place.case, place.bounds)


class NamingHeads(nn.Module):
    """One output per class, and a first one for `OUTSIDE`, from the features of every stage of the network's decoder.

    Args:
        decoder: of nnU-Net's network.
        classes: number of classes.
    """

    def __init__(self, decoder: Any, classes: int) -> None:
        super().__init__()
        # nnU-Net's name for layers that may be missing in -pretrained_weights.
        self.seg_layers = nn.ModuleList(type(layer)(layer.in_channels, 1 + classes, 1) for layer in decoder.seg_layers)

    def forward(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Logits (b, 1 + classes, z, y, x) at every scale, finest first, from the stages' features, coarsest first."""
        return [head(feature) for head, feature in zip(self.seg_layers, features, strict=True)][::-1]


class Naming(Objective):
    """nnU-Net's loss on the classes of all voxels in a patch."""

    Settings = NamingSettings
    settings: NamingSettings
    needs_features = True

    def samplers(self, train: Sequence[PromptDataset], validation: PromptDataset) -> tuple[Sampler, Sampler]:
        """Classes are made of the training's supervoxels; validation cases belong to the first dataset."""
        classes = make_classes(train, self.settings.classes)
        return ClassSampler(classes), ClassSampler(classes[:1])

    def heads(self, decoder: Any) -> nn.Module:
        """`NamingHeads` for the classes of all datasets."""
        return NamingHeads(decoder, self.settings.classes * (1 + len(self.trainer.config.datasets)))

    def loss(self, usual: nn.Module) -> nn.Module:
        """nnU-Net's loss, with or without deep supervision. It ignores voxels that are `UNKNOWN`."""
        loss: Any = deepcopy(usual)
        ignore_unknown(loss)
        return loss

    def train_step(self, batch: dict) -> dict:
        """One training step as in nnU-Net, on the outputs for classes instead of the network's own outputs."""
        network, blind_loss = self.trainer.bare_network, self.trainer.loss
        with outputs_of(network.decoder.stages) as features:

            def loss(_: Scales, classes: Scales) -> torch.Tensor:
                named = self._supervised(network.objective_heads(features))
                return blind_loss(named, classes) + zero_of(network.parameters())  # its own outputs learn nothing

            image = to_device(batch["data"], self.trainer.device)
            return self.trainer.step(without_prompts(image), batch["classes"], loss)

    def validation_step(self, batch: dict) -> dict:
        """Loss, and right and wrong voxels of every class."""
        network, classes = self.trainer.bare_network, to_device(batch["classes"], self.trainer.device)
        with outputs_of(network.decoder.stages) as features:
            self.trainer.forward(without_prompts(to_device(batch["data"], self.trainer.device)))
        with self.trainer.autocast(), torch.no_grad():
            named = network.objective_heads(features)
            loss = self.trainer.loss(self._supervised(named), classes)
        true, said, count = finest(classes)[:, 0].long(), named[0].argmax(1), named[0].shape[1]
        counted = torch.bincount((true * count + said)[true != UNKNOWN], minlength=count**2)
        pairs = counted.reshape(count, count).cpu().numpy()  # voxels by true and by named class
        tp = pairs.diagonal()[1:]
        fp, fn = pairs.sum(axis=0)[1:] - tp, pairs.sum(axis=1)[1:] - tp
        return {"loss": loss.cpu().numpy(), "tp_hard": tp, "fp_hard": fp, "fn_hard": fn}

    def _supervised(self, outputs: list[torch.Tensor]) -> Scales:
        """The outputs that nnU-Net's loss takes: all scales with deep supervision, else the finest alone."""
        return outputs if self.trainer.enable_deep_supervision else outputs[0]
