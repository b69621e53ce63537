"""The batched modules compute what the official ones do."""

from __future__ import annotations

import copy

import pytest
import torch
from sam2.modeling.sam2_utils import LayerNorm2d

from nnunetv2_supervoxel.checkpoints import load_sam2
from nnunetv2_supervoxel.generation.sam.batched_sam2 import OBJECTS_AT_ONCE, use_batched_modules

OBJECTS = OBJECTS_AT_ONCE + 3
POINTER_TOKENS = 8


@pytest.fixture(scope="module")
def official():
    return load_sam2("bundled").model


@pytest.fixture(scope="module")
def batched(official):
    return use_batched_modules(copy.deepcopy(official))


def attention_inputs(model, shared):
    """What `SAM2Base` hands to its memory attention: features of one slice, and 3 memories and 2 pointers an object."""
    generator = torch.Generator().manual_seed(0)
    pixels, channels, width = model.sam_image_embedding_size**2, model.hidden_dim, model.mem_dim
    image = torch.randn(pixels, 1 if shared else OBJECTS, channels, generator=generator).expand(-1, OBJECTS, -1)
    position = torch.randn(pixels, 1, channels, generator=generator).expand(-1, OBJECTS, -1)
    memory, memory_position = torch.randn(2, 3 * pixels + POINTER_TOKENS, OBJECTS, width, generator=generator)
    return {
        "curr": [image],
        "curr_pos": [position],
        "memory": memory,
        "memory_pos": memory_position,
        "num_obj_ptr_tokens": POINTER_TOKENS,
    }


@pytest.mark.parametrize("shared", [True, False], ids=["one image", "an image each"])
def test_memory_attention_of_many_objects(official, batched, shared):
    arguments = attention_inputs(official, shared)
    with torch.inference_mode():
        expected = official.memory_attention(**arguments)
        found = batched.memory_attention(**arguments)
    assert expected.std(1).mean() > 0.01, "objects that are all alike prove nothing"
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_best_of_several_masks(official, batched):
    generator = torch.Generator().manual_seed(0)
    pixels, channels = official.sam_image_embedding_size, official.hidden_dim
    inputs = {
        "backbone_features": 10
        * torch.randn(OBJECTS, channels, 1, 1, generator=generator).expand(-1, -1, pixels, pixels),
        "high_res_features": [
            torch.randn(OBJECTS, channels // shrink, pixels * scale, pixels * scale, generator=generator)
            for shrink, scale in ((8, 4), (4, 2))
        ],
        "multimask_output": True,
    }
    with torch.inference_mode():
        several, _, ious, *expected = official._forward_sam_heads(**inputs)
        enlarged, _, _, *found = batched._forward_sam_heads(**inputs)
    assert (several.shape[1], enlarged.shape[1]) == (3, 1)
    assert len(ious.argmax(1).unique()) > 1, "one mask that always wins proves nothing"
    for part, of_official in zip(found, expected, strict=True):  # masks, enlarged masks, object pointers, object scores
        torch.testing.assert_close(part, of_official, rtol=1e-4, atol=1e-3)


def test_norms_of_feature_maps(official, batched):
    found = 0
    for name, module in official.named_modules():
        if isinstance(module, LayerNorm2d):
            x = 3 + 2 * torch.randn(2, len(module.weight), 5, 7, generator=torch.Generator().manual_seed(found))
            with torch.inference_mode():
                torch.testing.assert_close(batched.get_submodule(name)(x), module(x), rtol=1e-5, atol=1e-5)
            found += 1
    assert found >= 5
    assert not any(isinstance(module, LayerNorm2d) for module in batched.modules())


def test_a_second_time_changes_nothing_and_weights_are_shared(official):
    model = copy.deepcopy(official)
    weights = {id(weight) for weight in model.parameters()}
    modules = list(use_batched_modules(model).modules())
    assert list(use_batched_modules(model).modules()) == modules
    assert {id(weight) for weight in model.parameters()} == weights
