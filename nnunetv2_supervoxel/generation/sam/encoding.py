"""SAM 2's image encoder on the slices of a volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from sam2.modeling.sam2_base import SAM2Base
from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

FrameReader = Callable[[int], np.ndarray]
"""Gives slice `i` as float32 (3, h, w) in [0, 1], or as (1, h, w) where all colours are the same."""


@dataclass(frozen=True)
class SliceFeatures:
    """SAM 2's encoding of one slice.

    Attributes:
        maps: feature maps from fine to coarse, each (1, channels, height, width).
        position: encoding of the positions in the coarsest map, of that map's shape; the same for all slices.
    """

    maps: tuple[torch.Tensor, ...]
    position: torch.Tensor

    def to(self, device: torch.device) -> SliceFeatures:
        """The same with its maps on another device; without a copy if they are there already."""
        return SliceFeatures(tuple(level.to(device) for level in self.maps), self.position)


def in_precision(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """In this context SAM 2 computes in "float32" or "bfloat16". It holds for one thread only."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


class SliceEncoder:
    """Encodes slices as the official `SAM2VideoPredictor` encodes frames.

    The caller decides the precision (autocast), and that no gradients are kept.

    Args:
        model: its image encoder runs; it decides the device. Its encoding of positions is replaced by one that
            remembers.

    Attributes:
        device: where the encodings are.
    """

    def __init__(self, model: SAM2Base) -> None:
        self._model = model
        neck = model.image_encoder.neck
        if not isinstance(neck.position_encoding, _KnownPositions):
            neck.position_encoding = _KnownPositions(neck.position_encoding)
        self.device = model.device
        self._mean = torch.tensor(IMAGENET_MEAN, device=self.device).view(3, 1, 1)
        self._std = torch.tensor(IMAGENET_STD, device=self.device).view(3, 1, 1)

    def __call__(self, images: Sequence[np.ndarray]) -> list[SliceFeatures]:
        """Resize slices to the model's square, normalise them, and run the image encoder on all of them at once.

        Args:
            images: each float32 (3, h, w) or (1, h, w) in [0, 1], all of one shape. Normalising gives slices of one
                channel their three.
        """
        resized = F.interpolate(
            torch.from_numpy(np.stack(images)).to(self.device),
            size=(self._model.image_size, self._model.image_size),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        encoded = self._model.forward_image((resized - self._mean) / self._std)
        maps = encoded["backbone_fpn"][-self._model.num_feature_levels :]
        position = encoded["vision_pos_enc"][-1][:1]
        return [SliceFeatures(tuple(level[i : i + 1] for level in maps), position) for i in range(len(images))]


class _KnownPositions(nn.Module):
    """SAM 2's encoding of positions in feature maps. It is made once for each size, and never copied."""

    def __init__(self, official: nn.Module) -> None:
        super().__init__()
        self.official = official
        self._known: dict[torch.Size, torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, channels, h, w) for feature maps (n, ..., h, w)."""
        size = x.shape[-2:]
        if size not in self._known:
            self._known[size] = self.official(x[:1])
        return self._known[size].expand(len(x), -1, -1, -1)
