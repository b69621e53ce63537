"""Interactions as the seven input channels that follow the image. The order is that of nnInteractive's sessions.

Channel 0 holds the previous segmentation, 1 and 2 box and lasso (positive and negative), 3 and 4 point, 5 and 6
scribble. Reference: the installed ``nninteractive`` package (>= 2.5), ``nnInteractiveInferenceSession``.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from nnunetv2_supervoxel.config import InteractionKind
from nnunetv2_supervoxel.prompts.interaction import Interaction

NUM_CHANNELS = 7
PREVIOUS_SEGMENTATION = 0
POSITIVE_NEGATIVE: dict[InteractionKind, tuple[int, int]] = {
    "box": (1, 2),
    "lasso": (1, 2),
    "point": (3, 4),
    "scribble": (5, 6),
}


def add_interaction(
    channels: torch.Tensor,
    interaction: Interaction,
    decay: float,
    earlier: Iterable[Interaction | None] | None = None,
) -> None:
    """Fade all older interactions and enter a new one, in place.

    The session gets the same result in another way: it enters every new prompt with more strength than the one before,
    and divides all by the newest strength before the network sees them. The previous segmentation never fades.

    Args:
        channels: float (7, z, y, x).
        interaction: the new one; its part outside the channels is cut off.
        decay: factor for what is there already, in (0, 1].
        earlier: all interactions that were entered before, if the caller knows them. Channels without one are then
            not faded, which saves most of the time.
    """
    if earlier is None:
        channels[PREVIOUS_SEGMENTATION + 1 :] *= decay
    else:
        for used in {_channel_of(one) for one in earlier if one is not None}:
            channels[used].mul_(decay)
    into: list[slice] = []
    part: list[slice] = []
    for start, length, size in zip(interaction.origin, interaction.stamp.shape, channels.shape[1:], strict=True):
        first, last = max(0, start), min(size, start + length)
        if last <= first:
            return
        into.append(slice(first, last))
        part.append(slice(first - start, last - start))
    view = channels[_channel_of(interaction)][tuple(into)]
    stamp = torch.from_numpy(interaction.stamp[tuple(part)].copy())
    torch.maximum(view, stamp.to(view), out=view)


def _channel_of(interaction: Interaction) -> int:
    return POSITIVE_NEGATIVE[interaction.kind][0 if interaction.positive else 1]
