"""What SAM and SAM 2 share: the loss of a mask, and how well it fits."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812


def mask_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Focal cross-entropy plus Dice.

    Args:
        logits: (..., h, w).
        target: 0 to 1, broadcast to the logits' shape.

    Returns:
        The loss of every mask (...), without the last two axes.
    """
    target = target.expand_as(logits)
    probability = logits.sigmoid()
    hit = probability * target + (1 - probability) * (1 - target)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focal = (entropy * (1.3 - hit) ** 1.5).mean((-1, -2))
    both, sizes = (probability * target).sum((-1, -2)), (probability**2 + target**2).sum((-1, -2))
    return 6 * focal + 1 - (2 * both + 1) / (sizes + 1)


def iou(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Intersection over union of masks (..., h, w), without the last two axes.

    Args:
        logits: inside where positive.
        target: inside above 0.5. The shapes are broadcast.
    """
    a, b = logits > 0, target > 0.5
    return (a & b).sum((-1, -2)) / (a | b).sum((-1, -2)).clamp(min=1)
