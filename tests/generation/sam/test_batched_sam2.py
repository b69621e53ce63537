"""Seeds and memories are what the official model makes of the same masks."""

from __future__ import annotations

import copy

import torch
from sam2.modeling.sam2_base import SAM2Base
from sam2.modeling.sam2_utils import LayerNorm2d

from nnunetv2_supervoxel.generation.sam.batched_sam2 import BatchedSam2
from nnunetv2_supervoxel.generation.sam.encoding import SliceFeatures
from nnunetv2_supervoxel.generation.sam.mask_decoding import Prediction

OBJECTS = 5


def test_memories_of_masks(official: SAM2Base, batched: BatchedSam2, features: SliceFeatures) -> None:
    generator = torch.Generator().manual_seed(0)
    size = official.sam_image_embedding_size * 4
    logits = 5 * torch.randn(OBJECTS, 1, size, size, generator=generator)
    scores = torch.tensor([3.0, -2.0, 1.0, 0.0, 5.0])[:, None]
    pointers = torch.randn(OBJECTS, official.hidden_dim, generator=generator)
    coarsest = features.maps[-1].flatten(2).permute(2, 0, 1).expand(-1, OBJECTS, -1)
    with torch.inference_mode():
        memory = batched.remember(features, Prediction(logits, pointers, scores))
        enlarged = torch.nn.functional.interpolate(logits, scale_factor=4, mode="bilinear")
        expected, _ = official._encode_new_memory([coarsest], [features.maps[-1].shape[2:]], enlarged, scores, False)
    torch.testing.assert_close(memory.tokens, expected.flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-4)
    assert torch.equal(memory.pointers, pointers)


def test_norms_of_feature_maps(official: SAM2Base, batched: BatchedSam2) -> None:
    found = 0
    for name, module in official.named_modules():
        if isinstance(module, LayerNorm2d):
            x = 3 + 2 * torch.randn(2, len(module.weight), 5, 7, generator=torch.Generator().manual_seed(found))
            with torch.inference_mode():
                ours = batched.model.get_submodule(name)(x)
                torch.testing.assert_close(ours, module(x), rtol=1e-5, atol=1e-5)
            found += 1
    assert found >= 5
    assert not any(isinstance(module, LayerNorm2d) for module in batched.model.modules())


def test_a_second_time_changes_nothing_and_weights_are_shared(official: SAM2Base) -> None:
    model = copy.deepcopy(official)
    weights = {id(weight) for weight in model.parameters()}
    modules = list(BatchedSam2(model).model.modules())
    assert list(BatchedSam2(model).model.modules()) == modules
    assert {id(weight) for weight in model.parameters()} == weights
