"""The fast attention is the official one, in SAM and in SAM 2."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from nnunetv2_supervoxel.checkpoints.loading import load_sam, load_sam2
from nnunetv2_supervoxel.generation.sam.attention_to_few import AttentionToFew, with_fast_attention


@pytest.fixture(params=["sam", "sam2"])
def transformer(request: pytest.FixtureRequest) -> nn.Module:
    if request.param == "sam":
        return copy.deepcopy(load_sam("bundled").model.mask_decoder.transformer)
    return copy.deepcopy(load_sam2("bundled").model.sam_mask_decoder.transformer)


@pytest.mark.parametrize("tokens", [1, 7])
def test_it_is_the_official_attention(transformer: nn.Module, tokens: int) -> None:
    official = transformer.layers[1].cross_attn_image_to_token
    generator = torch.Generator().manual_seed(0)
    q = 3 * torch.randn(3, 50, official.embedding_dim, generator=generator)
    k, v = 3 * torch.randn(2, 3, tokens, official.embedding_dim, generator=generator)
    with torch.inference_mode():
        torch.testing.assert_close(AttentionToFew(official)(q, k, v), official(q, k, v), rtol=1e-4, atol=1e-4)


def test_a_second_time_changes_nothing(transformer: nn.Module) -> None:
    with_fast_attention(transformer)
    modules = list(transformer.modules())
    assert sum(isinstance(module, AttentionToFew) for module in modules) == len(transformer.layers)
    with_fast_attention(transformer)
    assert list(transformer.modules()) == modules
