"""What objects see of a slice is what the official model's memory attention makes of the same memories."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base

from nnunetv2_supervoxel.generation.sam import memory_attention
from nnunetv2_supervoxel.generation.sam.batched_sam2 import BatchedSam2
from nnunetv2_supervoxel.generation.sam.encoding import SliceFeatures
from nnunetv2_supervoxel.generation.sam.memory_bank import LookBack, Memory, MemoryBank, MemoryPositions

OBJECTS, FRAMES = 3, 61


def random_memory(model: SAM2Base, frame: int) -> Memory:
    generator = torch.Generator().manual_seed(frame)
    tokens = torch.randn(OBJECTS, model.sam_image_embedding_size**2, model.mem_dim, generator=generator)
    return Memory(tokens.bfloat16(), torch.randn(OBJECTS, model.hidden_dim, generator=generator))


def as_official(model: SAM2Base, memory: Memory) -> dict[str, object]:
    """A memory as `track_step` stores it."""
    size = model.sam_image_embedding_size
    maps = memory.tokens.transpose(1, 2).unflatten(2, (size, size))
    position = model.memory_encoder.position_encoding(maps.float())
    return {"maskmem_features": maps, "maskmem_pos_enc": [position], "obj_ptr": memory.pointers}


def seen_officially(
    model: SAM2Base, features: SliceFeatures, memories: dict[int, Memory], frame: int, frames: int
) -> torch.Tensor:
    """(objects, pixels, channels), from the memories of the keyframe and of all slices after it."""
    outputs = {number: as_official(model, memory) for number, memory in memories.items()}
    keyframe = next(iter(outputs))
    seeded = {keyframe: outputs.pop(keyframe)}
    image, position = (part.flatten(2).permute(2, 0, 1) for part in (features.maps[-1], features.position))
    seen = model._prepare_memory_conditioned_features(
        frame_idx=frame,
        is_init_cond_frame=False,
        current_vision_feats=[image.expand(-1, OBJECTS, -1)],
        current_vision_pos_embeds=[position.expand(-1, OBJECTS, -1)],
        feat_sizes=[features.maps[-1].shape[2:]],
        output_dict={"cond_frame_outputs": seeded, "non_cond_frame_outputs": outputs},
        num_frames=frames,
        track_in_reverse=frame < keyframe,
    )
    return seen.flatten(2).transpose(1, 2)


@pytest.mark.parametrize("step", [1, -1])
@pytest.mark.parametrize(
    ("keyframe", "slices", "frames"), [(30, 1, 61), (30, 5, 61), (30, 9, 61), (30, 25, 61), (4, 2, 9), (4, 4, 9)]
)
def test_objects_see_what_the_official_model_lets_them_see(
    official: SAM2Base,
    batched: BatchedSam2,
    features: SliceFeatures,
    step: int,
    keyframe: int,
    slices: int,
    frames: int,
) -> None:
    frame = keyframe + step * slices
    memories = {number: random_memory(official, number) for number in range(keyframe, frame, step)}
    with torch.inference_mode():
        bank = MemoryBank(MemoryPositions(official, frames), keyframe, memories[keyframe], torch.device("cpu"))
        for number in range(keyframe + step, frame, step):
            bank.add(memories[number])
        seen = batched._attend(features, bank.look_back(frame, slice(0, OBJECTS), torch.device("cpu")))
        expected = seen_officially(official, features, memories, frame, frames)
    assert expected.std(0).mean() > 0.01, "objects that are all alike prove nothing"
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-4)


def test_attention_in_small_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    queries, keys = (torch.randn(2, tokens, 16, generator=generator) for tokens in (50, 70))
    values = torch.randn(2, 70, 8, generator=generator)
    expected = torch.nn.functional.scaled_dot_product_attention(queries, keys, values)
    for scores in (1 << 20, 70 * 7, 1):
        monkeypatch.setattr(memory_attention, "_SCORES_AT_ONCE", scores)
        torch.testing.assert_close(memory_attention._attend(queries, keys, values), expected, rtol=1e-5, atol=1e-5)


def test_objects_from_two_keyframes_see_what_each_sees_alone(
    official: SAM2Base, batched: BatchedSam2, features: SliceFeatures
) -> None:
    def bank_of(keyframe: int, shift: int) -> MemoryBank:
        bank = MemoryBank(positions, keyframe, random_memory(official, shift), torch.device("cpu"))
        for number in range(16):
            bank.add(random_memory(official, shift + 1 + number))
        return bank

    def seen(bank: MemoryBank, objects: int) -> torch.Tensor:
        look_back: LookBack = bank.look_back(40, slice(0, objects), torch.device("cpu"))
        return batched._attend(features, look_back)

    with torch.inference_mode():
        positions = MemoryPositions(official, FRAMES)
        alone = [seen(bank_of(keyframe, shift), OBJECTS) for keyframe, shift in ((3, 0), (20, 100))]
        joined = bank_of(3, 0)
        joined.join(bank_of(20, 100))
        together = seen(joined, 2 * OBJECTS)
        joined.keep(torch.from_numpy(np.array([1, 5])))
        kept = seen(joined, 2)
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(kept, torch.stack([alone[0][1], alone[1][2]]), rtol=1e-4, atol=1e-4)
