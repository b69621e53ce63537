"""Telling the supervoxels of a patch apart without a prompt, so that features know what they lie in.

To outline what a prompt points at takes little notion of what it is. Here the network sees the image alone, and each
voxel drawn from a supervoxel is to lie nearer to the mean of other voxels of it than to those of the patch's other
supervoxels: prototypes (Snell et al., 2017) under a softmax over cosine similarities (van den Oord et al., 2018).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

SUPERVOXELS = 32  # of a patch, at most
VOXELS = 64  # of each of them: half make the mean, half are compared with all means
TEMPERATURE = 0.1  # of the softmax


def draw_voxels(masks: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Voxels of every supervoxel, drawn with repetition.

    Args:
        masks: boolean (k, z, y, x), none empty, k up to `SUPERVOXELS`.
        rng: draws.

    Returns:
        voxels: int64 (SUPERVOXELS, VOXELS), indices into the flat patch; rows from k on are -1.
        inside: boolean (SUPERVOXELS, SUPERVOXELS, VOXELS); [j, i, v] says whether supervoxel j holds the voxel v of i.
    """
    voxels = np.full((SUPERVOXELS, VOXELS), -1)
    inside = np.zeros((SUPERVOXELS, SUPERVOXELS, VOXELS), bool)
    flat = masks.reshape(len(masks), -1)
    for row, mask in zip(voxels, flat, strict=False):
        row[:] = rng.choice(np.flatnonzero(mask), VOXELS)
    inside[: len(flat), : len(flat)] = flat[:, voxels[: len(flat)]]
    return torch.from_numpy(voxels), torch.from_numpy(inside)


def contrast_loss(features: torch.Tensor, voxels: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """How badly voxels find their own supervoxel among the patch's, by cross-entropy.

    Where supervoxels overlap, a voxel that lies in both isn't told from the other one.

    Args:
        features: (b, c, z, y, x).
        voxels: (b, SUPERVOXELS, VOXELS), from `draw_voxels`.
        inside: (b, SUPERVOXELS, SUPERVOXELS, VOXELS), likewise.

    Returns:
        Mean over the patches with two supervoxels or more; 0 if there is none.
    """
    losses = [features.sum() * 0]
    for feature, drawn, within in zip(features.float().flatten(2), voxels, inside, strict=True):
        drawn = drawn[drawn[:, 0] >= 0]
        count = len(drawn)
        if count < 2:
            continue
        vectors = F.normalize(feature[:, drawn], dim=0)  # (c, supervoxel, voxel)
        prototypes = F.normalize(vectors[:, :, : VOXELS // 2].mean(2), dim=0)
        similarity = torch.einsum("cj,civ->jiv", prototypes, vectors[:, :, VOXELS // 2 :]) / TEMPERATURE
        own = torch.eye(count, dtype=torch.bool, device=features.device)[:, :, None]
        shared = within[:count, :count, VOXELS // 2 :] & ~own
        answers = torch.arange(count, device=features.device)[:, None].expand(-1, VOXELS - VOXELS // 2)
        losses.append(F.cross_entropy(similarity.masked_fill(shared, -torch.inf)[None], answers[None]))
    return sum(losses) / max(1, len(losses) - 1)


@contextmanager
def output_of(module: nn.Module) -> Iterator[list[torch.Tensor]]:
    """What a module inside a network puts out while the network runs, in a list."""
    outputs: list[torch.Tensor] = []
    handle = module.register_forward_hook(lambda _, __, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()
