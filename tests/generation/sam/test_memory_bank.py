from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from nnunetv2_supervoxel.generation.sam.memory_bank import MemoryBank

MEMORIES, POINTERS = 3, 5
OBJECTS = 4


def output(frame: int, objects: list[int]) -> dict[str, object]:
    """As of `track_step`; every value tells the frame and the object."""
    pointers = torch.tensor([[100.0 * frame + i] for i in objects])
    return {
        "maskmem_features": pointers[..., None, None].expand(-1, 2, 3, 3),
        "maskmem_pos_enc": [torch.ones(len(objects), 2, 3, 3)],
        "obj_ptr": pointers,
        "pred_masks_high_res": torch.zeros(len(objects), 1, 12, 12),
    }


@pytest.fixture
def bank() -> MemoryBank:
    model = SimpleNamespace(num_maskmem=MEMORIES + 1, max_obj_ptrs_in_encoder=POINTERS + 1)
    return MemoryBank(model, 10, output(10, list(range(OBJECTS))), torch.device("cpu"))


@pytest.mark.parametrize("step", [1, -1])
def test_the_keyframe_and_the_last_frames_are_kept(bank: MemoryBank, step: int) -> None:
    frames = range(10 + step, 10 + 9 * step, step)
    for frame in frames:
        bank.add(frame, output(frame, list(range(OBJECTS))), step)
    assert list(bank.outputs["cond_frame_outputs"]) == [10]
    recent = bank.outputs["non_cond_frame_outputs"]
    assert list(recent) == list(frames[-POINTERS:])
    remembered = [frame for frame, kept in recent.items() if kept["maskmem_features"] is not None]
    assert remembered == list(frames[-MEMORIES:])
    assert all(kept.keys() == {"maskmem_features", "maskmem_pos_enc", "obj_ptr"} for kept in recent.values())


def test_objects_that_ended_are_forgotten_everywhere(bank: MemoryBank) -> None:
    for frame in range(11, 16):
        bank.add(frame, output(frame, list(range(OBJECTS))), 1)
    bank.keep(torch.tensor([1, 3]))
    bank.add(16, output(16, [1, 3]), 1)
    for outputs in bank.outputs.values():
        for frame, kept in outputs.items():
            assert kept["obj_ptr"].flatten().tolist() == [100 * frame + 1, 100 * frame + 3]
            if kept["maskmem_features"] is not None:
                assert kept["maskmem_features"].shape == kept["maskmem_pos_enc"][0].shape == (2, 2, 3, 3)
                of_objects = torch.tensor([100.0 * frame + 1, 100.0 * frame + 3]).bfloat16()
                assert torch.equal(kept["maskmem_features"][:, 0, 0, 0], of_objects)
