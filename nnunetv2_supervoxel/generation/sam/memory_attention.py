"""SAM 2's memory attention for several objects on one slice."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.sam.transformer import RoPEAttention
from torch import nn

from nnunetv2_supervoxel.generation.sam.encoding import SliceFeatures
from nnunetv2_supervoxel.generation.sam.memory_bank import LookBack

_SCORES_AT_ONCE = 1 << 18  # of attention on a CPU: they stay in its caches


class ObjectMemoryAttention(nn.Module):
    """`MemoryAttention` of objects to their memories; up to rounding its results are the official ones.

    Until the objects look at their memories they all have the same features, which are computed once.

    Args:
        official: it has the weights. Its attention has one head, and no positions beyond the rotary ones, as in all
            SAM 2.1 models.
    """

    def __init__(self, official: MemoryAttention) -> None:
        super().__init__()
        self.official = official

    def forward(self, features: SliceFeatures, look_back: LookBack) -> torch.Tensor:
        """The slice's coarsest features as each object sees them: (objects, pixels, channels)."""
        image, position = (part.flatten(2).transpose(1, 2) for part in (features.maps[-1], features.position))
        image = image + 0.1 * position
        for number, layer in enumerate(self.official.layers):
            image = image + _to_itself(layer.self_attn, layer.norm1(image))
            if not number:
                image = image.expand(len(look_back.keys), -1, -1)  # from here on objects differ
            image = image + _to_memories(layer.cross_attn_image, layer.norm2(image), look_back)
            image = image + _feed_forward(layer, layer.norm3(image))
        return self.official.norm(image)


def _to_itself(attention: RoPEAttention, image: torch.Tensor) -> torch.Tensor:
    """Attention of an image's pixels to one another: (objects, pixels, channels)."""
    queries, keys = (_rotated(project(image), attention) for project in (attention.q_proj, attention.k_proj))
    return attention.out_proj(_attend(queries, keys, attention.v_proj(image)))


def _to_memories(attention: RoPEAttention, image: torch.Tensor, look_back: LookBack) -> torch.Tensor:
    """Attention of an image's pixels to memories: (objects, pixels, channels)."""
    queries, keys = _rotated(attention.q_proj(image), attention), attention.k_proj(look_back.keys)
    of_pixels = look_back.memories * image.shape[1]  # the keys of pointers have no place in the image
    keys[:, :of_pixels] = _rotated(keys[:, :of_pixels], attention)
    if keys.device.type == "cpu" and keys.dtype == torch.float32:
        # Weights of attention sum to 1. So what they weigh may be projected afterwards, when there is less of it.
        return attention.out_proj(attention.v_proj(_attend(queries, keys, look_back.values)))
    return attention.out_proj(_attend(queries, keys, attention.v_proj(look_back.values)))


def _rotated(tokens: torch.Tensor, attention: RoPEAttention) -> torch.Tensor:
    """Rotary positions (Su et al., 2021) on the pixels of one image or several: (objects, pixels, channels)."""
    turns = attention.freqs_cis = attention.freqs_cis.to(tokens.device)
    objects, pixels, channels = tokens.shape
    pairs = torch.view_as_complex(tokens.float().reshape(objects, -1, len(turns), channels // 2, 2))
    return torch.view_as_real(pairs * turns).reshape(objects, pixels, channels).type_as(tokens)


def _attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Scaled dot-product attention with one head: (objects, queries, channels of values)."""
    if queries.device.type != "cpu" or queries.dtype != torch.float32:
        return F.scaled_dot_product_attention(queries[:, None], keys[:, None], values[:, None])[:, 0]
    # PyTorch's own attention on a CPU is slower, and wants as many channels of values as of keys.
    queries = queries * queries.shape[2] ** -0.5
    attended = queries.new_empty(*queries.shape[:2], values.shape[2])
    rows = max(1, _SCORES_AT_ONCE // keys.shape[1])
    for one, its_keys, its_values, result in zip(queries, keys.transpose(1, 2), values, attended, strict=True):
        for part, result_part in zip(one.split(rows), result.split(rows), strict=True):
            torch.matmul((part @ its_keys).softmax(1), its_values, out=result_part)
    return attended


def _feed_forward(layer: MemoryAttentionLayer, image: torch.Tensor) -> torch.Tensor:
    return layer.linear2(layer.activation(layer.linear1(image)))
