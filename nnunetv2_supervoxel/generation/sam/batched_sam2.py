"""SAM 2 for a batch of objects on one slice, at less cost; up to rounding it computes what the official predictor does.

The official modules repeat for every object what depends on the image alone. They make masks that aren't chosen, and
normalise feature maps in a general and slow way.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from sam2.modeling.sam2_base import SAM2Base
from sam2.modeling.sam2_utils import LayerNorm2d
from torch import nn

from nnunetv2_supervoxel.generation.sam.attention_to_few import with_fast_attention
from nnunetv2_supervoxel.generation.sam.encoding import SliceFeatures
from nnunetv2_supervoxel.generation.sam.mask_decoding import ObjectMaskDecoder, Prediction
from nnunetv2_supervoxel.generation.sam.memory_attention import ObjectMemoryAttention
from nnunetv2_supervoxel.generation.sam.memory_bank import LookBack, Memory

OBJECTS_AT_ONCE = 8  # on a CPU: their tensors stay small enough for its caches
_FEW_CHANNELS = 64  # up to so many, `layer_norm` is slow: it works pixel by pixel


class BatchedSam2:
    """What SAM 2 does with objects on one slice.

    Args:
        model: it has the weights. Its normalisations, and the attention of pixels to tokens, are replaced by faster
            ones with the same weights.
    """

    def __init__(self, model: SAM2Base) -> None:
        self.model = _with_fast_norms(model)
        with_fast_attention(model.sam_mask_decoder.transformer)
        self.device = model.device
        self._attend = ObjectMemoryAttention(model.memory_attention)
        self._decode = ObjectMaskDecoder(model)
        self._encode_memory = ObjectMemoryEncoder(model)

    def seed(self, features: SliceFeatures, masks: torch.Tensor) -> tuple[torch.Tensor, Memory]:
        """What the official predictor's `add_new_mask` and preflight make of masks on a keyframe slice.

        Args:
            features: the slice's.
            masks: float32 (objects, 1, h, w), 1 inside.

        Returns:
            Logits (objects, 1, h/4, w/4) of what is left of the masks at the model's resolution, and what later slices
            look back at.
        """
        size = (self.model.image_size, self.model.image_size)
        masks = F.interpolate(masks, size=size, mode="bilinear", align_corners=False, antialias=True)
        maps = [level.expand(len(masks), -1, -1, -1) for level in features.maps]
        outputs = self.model._use_mask_as_output(maps[-1], maps[:-1], (masks >= 0.5).float())
        _, _, _, logits, _, pointers, scores = outputs
        # The predictor doesn't encode the memory from the mask that it was given. It encodes what is left of that mask
        # at a quarter of the resolution, and binarises it.
        inside = (self._enlarged(logits) > 0).float()
        return logits, Memory(self._encode_memory(features, inside, scores), pointers)

    def step(self, features: SliceFeatures, look_back: LookBack) -> Prediction:
        """Predict objects on a slice from what is remembered of them."""
        return self._decode(self._attend(features, look_back), features)

    def remember(self, features: SliceFeatures, predicted: Prediction) -> Memory:
        """What later slices look back at."""
        inside = self._enlarged(predicted.logits).sigmoid_()
        return Memory(self._encode_memory(features, inside, predicted.scores), predicted.pointers)

    def _enlarged(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits in the model's resolution."""
        size = (self.model.image_size, self.model.image_size)
        return F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)


class ObjectMemoryEncoder(nn.Module):
    """`SAM2Base._encode_new_memory`, with the image's part computed once for all objects.

    Args:
        model: it has the weights.
    """

    def __init__(self, model: SAM2Base) -> None:
        super().__init__()
        self.official, self.not_visible = model.memory_encoder, model.no_obj_embed_spatial
        self._scale, self._bias = model.sigmoid_scale_for_mem_enc, model.sigmoid_bias_for_mem_enc

    def forward(self, features: SliceFeatures, inside: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Encode masks of objects together with the slice.

        Args:
            features: the slice's.
            inside: (objects, 1, h, w) at the model's resolution, from 0 outside to 1 inside; it is overwritten.
            scores: (objects, 1), above 0 where the object is on the slice.

        Returns:
            (objects, pixels, channels).
        """
        masks = self.official.mask_downsampler(inside.mul_(self._scale).add_(self._bias))
        fused = self.official.fuser(self.official.pix_feat_proj(features.maps[-1]) + masks)
        tokens = self.official.out_proj(fused).flatten(2).transpose(1, 2)
        return tokens + (scores <= 0)[..., None] * self.not_visible


def _with_fast_norms(model: SAM2Base) -> SAM2Base:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LayerNorm2d):
                setattr(parent, name, _ChannelNorm(child))
    return model


class _ChannelNorm(nn.Module):
    """`LayerNorm2d`, in one pass where there are many channels."""

    def __init__(self, official: LayerNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = official.weight, official.bias, official.eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (n, c, h, w) over its channels."""
        if x.shape[1] <= _FEW_CHANNELS and x.dtype == torch.float32:  # lower precisions want `layer_norm`'s sums
            centred = x - x.mean(1, keepdim=True)
            scale = centred.square().mean(1, keepdim=True).add_(self.eps).rsqrt_()
            return centred.mul_(scale).mul_(self.weight[:, None, None]).add_(self.bias[:, None, None])
        normalised = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return normalised.permute(0, 3, 1, 2)
