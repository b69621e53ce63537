"""SAM 2's modules for a batch of objects on one slice, at less cost; up to rounding they compute what SAM 2's own do.

The official modules repeat for every object what depends on the image alone. They enlarge masks that aren't chosen,
normalise feature maps in a general and slow way, and hold what all objects attend to at the same time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from sam2.modeling.memory_attention import MemoryAttention
from sam2.modeling.sam2_base import SAM2Base
from sam2.modeling.sam2_utils import LayerNorm2d
from torch import nn

OBJECTS_AT_ONCE = 8  # on a CPU: their tensors stay small enough for its caches
_FEW_CHANNELS = 16  # up to so many, `layer_norm` is slow: it works pixel by pixel


def use_batched_modules(model: SAM2Base) -> SAM2Base:
    """Replace modules of `model` by this file's, and return `model`.

    Weights are shared, not copied. A second call changes nothing.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LayerNorm2d):
                setattr(parent, name, _ChannelNorm(child))
    if isinstance(model.memory_attention, MemoryAttention):
        model.memory_attention = _MemoryAttentionOfObjects(model.memory_attention)
    if not model.sam_mask_decoder._forward_hooks:
        model.sam_mask_decoder.register_forward_hook(_best_mask)
    return model


def objects_at_once(objects: int, device: torch.device) -> int:
    """How many objects of a batch are worked on at once: few on a CPU, all of them elsewhere."""
    return min(objects, OBJECTS_AT_ONCE) if device.type == "cpu" else objects


def _best_mask(_: nn.Module, __: tuple[object, ...], output: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Of the decoder's masks the one that `SAM2Base` would choose; it then enlarges one mask instead of three."""
    masks, ious, tokens, object_scores = output
    best = torch.arange(len(ious), device=ious.device)[:, None], ious.argmax(1, keepdim=True)
    return masks[best], ious[best], tokens[best] if tokens.shape[1] > 1 else tokens, object_scores


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


class _MemoryAttentionOfObjects(nn.Module):
    """`MemoryAttention` of several objects to their memories, on the features of one slice.

    Until the objects look at their memories they all have the same features, which are computed once.
    """

    def __init__(self, official: MemoryAttention) -> None:
        super().__init__()
        self.official = official

    def forward(
        self,
        curr: list[torch.Tensor],
        memory: torch.Tensor,
        curr_pos: list[torch.Tensor],
        memory_pos: torch.Tensor,
        num_obj_ptr_tokens: int = 0,
    ) -> torch.Tensor:
        """Arguments and result (pixels, objects, channels) are those of the official module as `SAM2Base` calls it."""
        official, objects = self.official, memory.shape[1]
        image, position = (_distinct(of_image).transpose(0, 1) for of_image in (curr[0], curr_pos[0]))
        if official.pos_enc_at_input:
            image = image + 0.1 * position
        image = official.layers[0]._forward_sa(image, position).expand(objects, -1, -1)
        position = position.expand(objects, -1, -1)
        memory, memory_pos = memory.transpose(0, 1), memory_pos.transpose(0, 1)

        at_once = objects_at_once(objects, memory.device)
        parts = zip(*(whole.split(at_once) for whole in (image, position, memory, memory_pos)), strict=True)
        attended = [self._to_memories(*part, num_obj_ptr_tokens=num_obj_ptr_tokens) for part in parts]
        return torch.cat(attended).transpose(0, 1)

    def _to_memories(
        self,
        image: torch.Tensor,
        position: torch.Tensor,
        memory: torch.Tensor,
        memory_pos: torch.Tensor,
        *,
        num_obj_ptr_tokens: int,
    ) -> torch.Tensor:
        """All layers after the first one's self-attention; arguments and result (objects, tokens, channels)."""
        memory = memory.contiguous()
        keys = memory + memory_pos
        for number, layer in enumerate(self.official.layers):
            if number:
                image = layer._forward_sa(image, position)
            queries = layer.norm2(image)
            image = image + layer.cross_attn_image(
                q=queries + position if layer.pos_enc_at_cross_attn_queries else queries,
                k=keys if layer.pos_enc_at_cross_attn_keys else memory,
                v=memory,
                num_k_exclude_rope=num_obj_ptr_tokens,
            )
            image = image + layer.linear2(layer.activation(layer.linear1(layer.norm3(image))))
        return self.official.norm(image)


def _distinct(of_image: torch.Tensor) -> torch.Tensor:
    """Features (pixels, objects, channels): of one object only, if all are views of the same memory."""
    return of_image[:, :1] if of_image.stride(1) == 0 else of_image
