"""The attention in SAM's and SAM 2's mask decoders in which many pixels look at few tokens, at less cost."""

from __future__ import annotations

import torch
from sam2.modeling.sam import transformer as sam2
from segment_anything.modeling import transformer as sam
from torch import nn


def with_fast_attention(transformer: sam.TwoWayTransformer | sam2.TwoWayTransformer) -> None:
    """Replace the attention of pixels to tokens in a mask decoder's transformer. A second call changes nothing."""
    for layer in transformer.layers:
        if not isinstance(layer.cross_attn_image_to_token, AttentionToFew):
            layer.cross_attn_image_to_token = AttentionToFew(layer.cross_attn_image_to_token)


class AttentionToFew(nn.Module):
    """Attention of many queries to few keys; up to rounding it computes what the official module does.

    The keys are projected to where the queries are, instead of the queries to where the keys are. The scores of all
    heads are one product, in a layout in which PyTorch's softmax is fast.

    Args:
        official: it has the weights.
    """

    def __init__(self, official: sam.Attention | sam2.Attention) -> None:
        super().__init__()
        self.official = official

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """(batch, queries, channels), from q of that shape, and k and v (batch, keys, channels)."""
        official, heads = self.official, self.official.num_heads
        keys, values = official.k_proj(k).unflatten(2, (heads, -1)), official.v_proj(v).unflatten(2, (heads, -1))
        scale = keys.shape[-1] ** -0.5
        to_heads, bias = (part.unflatten(0, (heads, -1)) for part in (official.q_proj.weight, official.q_proj.bias))
        of_queries = torch.einsum("bkhd,hdc->bkhc", keys * scale, to_heads).flatten(1, 2)
        of_bias = torch.einsum("bkhd,hd->bkh", keys * scale, bias).flatten(1, 2)[..., None]
        scores = torch.baddbmm(of_bias, of_queries, q.transpose(1, 2))
        weights = scores.unflatten(1, (-1, heads)).softmax(1).flatten(1, 2)
        projected = torch.einsum("bkhd,chd->bkhc", values, official.out_proj.weight.unflatten(1, (heads, -1)))
        return torch.baddbmm(official.out_proj.bias, weights.transpose(1, 2), projected.flatten(1, 2))
