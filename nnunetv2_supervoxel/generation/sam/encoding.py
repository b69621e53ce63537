"""SAM 2's image encoder on the slices of a volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from sam2.modeling.sam2_base import SAM2Base

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

FrameReader = Callable[[int], np.ndarray]
"""Gives slice `i` as float32 (3, h, w) in [0, 1], or as (1, h, w) where all colours are the same."""


@dataclass
class SliceFeatures:
    """SAM 2's encoding of one slice, for a batch of one object.

    Attributes:
        vision: feature maps from fine to coarse, each (pixels, 1, channels).
        positions: the maps' position encodings, of the same shapes.
        sizes: (height, width) of each map.
    """

    vision: list[torch.Tensor]
    positions: list[torch.Tensor]
    sizes: list[tuple[int, int]]

    def expanded(self, objects: int) -> dict[str, Any]:
        """The same for a batch of so many objects, without a copy: arguments of `SAM2Base.track_step`."""
        return {
            "current_vision_feats": [feature.expand(-1, objects, -1) for feature in self.vision],
            "current_vision_pos_embeds": [position.expand(-1, objects, -1) for position in self.positions],
            "feat_sizes": self.sizes,
        }


class SliceEncoder:
    """Encodes slices as the official `SAM2VideoPredictor` encodes frames.

    The caller decides the precision (autocast), and that no gradients are kept.

    Args:
        model: its image encoder runs; it decides the device.
    """

    def __init__(self, model: SAM2Base) -> None:
        self._model = model
        self._device = model.device
        self._mean = torch.tensor(IMAGENET_MEAN, device=self._device).view(3, 1, 1)
        self._std = torch.tensor(IMAGENET_STD, device=self._device).view(3, 1, 1)

    def __call__(self, images: Sequence[np.ndarray]) -> list[SliceFeatures]:
        """Resize slices to the model's square, normalise them, and run the image encoder on all of them at once.

        Args:
            images: each float32 (3, h, w) or (1, h, w) in [0, 1], all of one shape. Normalising gives slices of one
                channel their three.
        """
        resized = F.interpolate(
            torch.from_numpy(np.stack(images)).to(self._device),
            size=(self._model.image_size, self._model.image_size),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        encoded = self._model.forward_image((resized - self._mean) / self._std)
        _, vision, positions, sizes = self._model._prepare_backbone_features(encoded)
        return [
            SliceFeatures(
                [level[:, i : i + 1] for level in vision], [level[:, i : i + 1] for level in positions], sizes
            )
            for i in range(len(images))
        ]

    def in_order(
        self, read_frame: FrameReader, order: Sequence[int], at_once: int
    ) -> Iterator[tuple[int, SliceFeatures]]:
        """Slices in a given order, each with its encoding.

        Args:
            read_frame: gives a slice.
            order: indices of the slices.
            at_once: so many slices are read and encoded together, when the first of them is needed.
        """
        for start in range(0, len(order), at_once):
            chunk = order[start : start + at_once]
            yield from zip(chunk, self([read_frame(frame) for frame in chunk]), strict=True)
