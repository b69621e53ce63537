"""Finding in one view what is shown in another, so that features tell one structure from the next.

Of one volume the network sees two views, augmented apart. In the first, the reference, some supervoxels are shown. It
must outline the same ones in the second, the query. It does so with its features alone: their mean over a supervoxel in
the reference is a prototype, and a voxel of the query belongs to the supervoxel if its feature is like that.

To learn by segmenting in context on automatic masks is the idea of MASS (CVPR 2026, arXiv 2603.13660). Prototypes with
a learned threshold come from few-shot segmentation (ADNet, Hansen et al., 2022). Apart from a linear layer for each
stage, all that is learned lies in nnU-Net's network.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field
from torch import nn

from nnunetv2_supervoxel.config.base import Config
from nnunetv2_supervoxel.training.dataset import PromptDataset, patch_bounds
from nnunetv2_supervoxel.training.features import outputs_of, zero_of
from nnunetv2_supervoxel.training.objectives.base import Objective, hits_and_misses
from nnunetv2_supervoxel.training.rounds import without_prompts
from nnunetv2_supervoxel.training.sampling import (
    AugmentedView,
    Place,
    Sample,
    Sampler,
    Scales,
    View,
    finest,
    stacked,
    to_device,
    view_of,
)

FEATURES = 32  # of a prototype
REFERENCE, QUERY = 0, 1


class InContextSettings(Config):
    """Settings of the objective `in_context`."""

    masks: Annotated[int, Field(ge=1)] = 8
    """Most supervoxels that are shown at once."""

    negatives: Annotated[int, Field(ge=0)] = 4
    """Most supervoxels of the batch's other images that a query is asked for, too. They aren't there."""

    view_shift: Annotated[float, Field(ge=0, lt=0.5)] = 0.15
    """How far apart the two views may lie along each axis, as a share of the patch."""


class TwoViewsSampler(Sampler):
    """Reads two views, and of both the masks of the same supervoxels, as "masks".

    Args:
        settings: how many masks, and how far apart the views lie.
    """

    name = "masks"

    def __init__(self, settings: InContextSettings) -> None:
        self.settings = settings

    def read(self, place: Place, mark_outside: bool) -> list[View]:
        """The place, and one near it: of each the image and `masks` channels; those of missing supervoxels are 0."""
        views = [place.bounds, self._beside(place)]
        known = set(place.case.keys_within(views[QUERY]))
        common = [key for key in place.case.keys_within(views[REFERENCE]) if key in known]
        keys = [common[i] for i in place.rng.permutation(len(common))[: self.settings.masks]]
        read = []
        for bounds in views:
            masks = np.zeros((self.settings.masks, *place.target.shape), np.int16)
            for mask, key in zip(masks, keys, strict=False):
                mask[:] = place.case.supervoxel_patch(key, bounds)
            read.append(view_of(place.case, bounds, masks, mark_outside))
        return read

    def sample(self, place: Place, views: Sequence[AugmentedView]) -> Sample:
        """Both views, stacked. What counts are the voxels in the view with fewer of them."""
        images, masks = zip(*views, strict=True)
        voxels = min(int(np.count_nonzero(finest(part).numpy() > 0)) for part in masks)
        content = {"data": stacked(images), self.name: stacked(masks), "keys": place.case.name}
        return Sample(content | {"datasets": place.dataset}, voxels)

    def _beside(self, place: Place) -> list[tuple[int, int]]:
        """Bounds of the other view."""
        sizes = place.target.shape
        shift = place.rng.uniform(-self.settings.view_shift, self.settings.view_shift, 3) * place.final_patch_size
        middle = [
            low + size // 2 + int(offset) for (low, _), size, offset in zip(place.bounds, sizes, shift, strict=True)
        ]
        return patch_bounds(middle, place.case.shape, sizes, place.final_patch_size)


class _PrototypeHead(nn.Module):
    """Logits of a query's voxels for some prototypes, at one stage of the decoder.

    Args:
        convolution: 3D or 2D.
        channels: of the stage's features.
    """

    def __init__(self, convolution: type[nn.Module], channels: int) -> None:
        super().__init__()
        self.project = convolution(channels, FEATURES, 1)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.threshold = nn.Parameter(torch.tensor(0.5))

    def features(self, stage: torch.Tensor) -> torch.Tensor:
        """Features (b, FEATURES, *space) of length 1."""
        return F.normalize(self.project(stage).float(), dim=1)

    def logits(self, query: torch.Tensor, prototypes: torch.Tensor) -> torch.Tensor:
        """Logits (b, k, *space) for a query's features (b, FEATURES, *space) and prototypes (b, k, FEATURES)."""
        similarity = torch.einsum("bkc,bcv->bkv", prototypes, query.flatten(2)).unflatten(2, query.shape[2:])
        return self.log_scale.exp() * (similarity - self.threshold)


class PrototypeHeads(nn.Module):
    """One `_PrototypeHead` for every stage of the network's decoder."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        # nnU-Net's name for layers that may be missing in -pretrained_weights.
        self.seg_layers = nn.ModuleList(_PrototypeHead(type(s), s.in_channels) for s in decoder.seg_layers)


def prototypes_of(features: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean feature of every mask, of length 1, and whether the mask has a voxel.

    Args:
        features: (b, c, *space).
        masks: boolean (b, k, *space).

    Returns:
        (b, k, c), and boolean (b, k).
    """
    inside = masks.flatten(2).to(features.dtype)
    sums = torch.einsum("bkv,bcv->bkc", inside, features.flatten(2))
    return F.normalize(sums, dim=2), inside.any(dim=2)


def with_negatives(
    prototypes: torch.Tensor, known: torch.Tensor, count: int, cases: Sequence[Hashable]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Every image's prototypes, followed by `count` of the images after it in the batch; and which of them are known.

    Args:
        prototypes: (b, k, c).
        known: boolean (b, k).
        count: fewer are known if images of other cases have fewer.
        cases: b; what an image shows of its own case may be in its query, too.
    """
    images = len(prototypes)
    order = torch.arange(images, device=known.device)
    others = [(order + step) % images for step in range(1, images)]
    if not others or not count:
        return prototypes, known
    elsewhere = torch.tensor([[one != other for other in cases] for one in cases], device=known.device)
    foreign = torch.cat([prototypes[other] for other in others], dim=1)
    there = torch.cat([known[other] & elsewhere[order, other][:, None] for other in others], dim=1)
    first = (~there).int().argsort(dim=1, stable=True)[:, :count]  # known ones first
    foreign = foreign.gather(1, first[..., None].expand(-1, -1, foreign.shape[2]))
    return torch.cat([prototypes, foreign], dim=1), torch.cat([known, there.gather(1, first)], dim=1)


def masks_loss(logits: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of all known masks, and Dice loss of those that the query shows.

    Args:
        logits: (b, k, *space).
        target: boolean, of the logits' shape.
        known: boolean (b, k), masks that the reference shows.
    """
    logits, inside = logits.flatten(2), target.flatten(2).to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, inside, reduction="none").mean(dim=2)
    probability = logits.sigmoid()
    dice = (2 * (probability * inside).sum(dim=2) + 1) / (probability.sum(dim=2) + inside.sum(dim=2) + 1)
    shown = known & target.flatten(2).any(dim=2)
    return (entropy * known).sum() / known.sum().clamp(min=1) + ((1 - dice) * shown).sum() / shown.sum().clamp(min=1)


class InContext(Objective):
    """Dice and cross-entropy of a query's masks, at every scale of the decoder."""

    Settings = InContextSettings
    settings: InContextSettings
    needs_features = True

    def samplers(self, train: Sequence[PromptDataset], validation: PromptDataset) -> tuple[Sampler, Sampler]:
        """Both show two views."""
        return TwoViewsSampler(self.settings), TwoViewsSampler(self.settings)

    def heads(self, decoder: Any) -> nn.Module:
        """`PrototypeHeads`."""
        return PrototypeHeads(decoder)

    def train_step(self, batch: dict) -> dict:
        """One training step as in nnU-Net, on the masks of queries instead of the network's own outputs."""
        network = self.trainer.bare_network
        with outputs_of(network.decoder.stages) as features:

            def loss(_: Scales, masks: Scales) -> torch.Tensor:
                found = self._loss(features, masks, _cases(batch))[0]
                return found + zero_of(network.parameters())  # its own outputs learn nothing

            return self.trainer.step(self._input(batch), self._both_views(batch), loss)

    def validation_step(self, batch: dict) -> dict:
        """Loss, and right and wrong voxels of all masks that the reference shows."""
        with outputs_of(self.trainer.bare_network.decoder.stages) as features:
            self.trainer.forward(self._input(batch))
        masks = to_device(self._both_views(batch), self.trainer.device)
        with self.trainer.autocast(), torch.no_grad():
            loss, logits, target, known = self._loss(features, masks, _cases(batch))
        count = self.settings.masks
        own = known[:, :count].reshape(len(known), count, *[1] * (target.ndim - 2))
        said, true = (logits[:, :count] > 0) & own, target[:, :count] & own
        return {"loss": loss.cpu().numpy(), **hits_and_misses(said, true)}

    def _input(self, batch: dict) -> torch.Tensor:
        """Both views of all samples as network input (2 b, c + 7, *space)."""
        return without_prompts(to_device(batch["data"], self.trainer.device).flatten(0, 1))

    def _both_views(self, batch: dict) -> Scales:
        masks = batch["masks"]
        return [scale.flatten(0, 1) for scale in masks] if isinstance(masks, list) else masks.flatten(0, 1)

    def _loss(
        self, features: Sequence[torch.Tensor], masks: Scales, cases: Sequence[Hashable]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """The weighted loss of all scales; and logits, targets and known masks at the finest one.

        Args:
            features: of the decoder's stages, coarsest first, each (2 b, c, *space).
            masks: (2 b, k, *space) at every scale, finest first.
            cases: b, of which case each sample is.
        """
        heads = list(self.trainer.bare_network.objective_heads.seg_layers)[::-1]
        scales = masks if isinstance(masks, list) else [masks]
        parts = [
            self._at_one_scale(head, feature, scale > 0, cases)
            for head, feature, scale in zip(heads, list(features)[::-1], scales, strict=False)
        ]
        weights = [0.5**number for number in range(len(parts))]
        losses = torch.stack([part[0] for part in parts])
        total = (losses * losses.new_tensor(weights)).sum() / sum(weights)
        return total, *parts[0][1:]

    def _at_one_scale(
        self, head: _PrototypeHead, stage: torch.Tensor, masks: torch.Tensor, cases: Sequence[Hashable]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        features = head.features(stage).unflatten(0, (-1, 2))
        masks = masks.unflatten(0, (-1, 2))
        # A sum over the voxels of a large mask is more than half precision can hold.
        with torch.autocast(stage.device.type, enabled=False):
            prototypes, known = prototypes_of(features[:, REFERENCE], masks[:, REFERENCE])
            prototypes, known = with_negatives(prototypes, known, self.settings.negatives, cases)
            logits = head.logits(features[:, QUERY], prototypes)
            target = torch.zeros_like(logits, dtype=torch.bool)
            target[:, : masks.shape[2]] = masks[:, QUERY]
            return masks_loss(logits, target, known), logits, target, known


def _cases(batch: dict) -> list[tuple[int, str]]:
    """Dataset and case of every sample."""
    return list(zip(batch["datasets"], batch["keys"], strict=True))
