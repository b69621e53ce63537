from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from nnunetv2_supervoxel.generation.sam.memory_bank import Memory, MemoryBank

MEMORIES, POINTERS = 3, 5
OBJECTS = 4


def memory(frame: int, objects: list[int]) -> Memory:
    """Every value says the frame and the object."""
    pointers = torch.tensor([[100.0 * frame + i] for i in objects])
    return Memory(pointers[..., None].expand(-1, 9, 2), pointers)


@pytest.fixture
def bank() -> MemoryBank:
    positions = SimpleNamespace(memories=MEMORIES, pointers=POINTERS)
    return MemoryBank(positions, 10, memory(10, list(range(OBJECTS))), torch.device("cpu"))


def held(bank: MemoryBank) -> list[tuple[list[float], bool]]:
    """Pointers of every slice that is remembered, the keyframe first, and whether there are tokens, too."""
    return [(m.pointers.flatten().tolist(), m.tokens is not None) for m in (bank._seeded, *bank._recent)]


def test_the_keyframe_and_the_last_frames_are_kept(bank: MemoryBank) -> None:
    for frame in range(11, 19):
        assert bank.is_full == (frame >= 16)
        bank.add(memory(frame, list(range(OBJECTS))))
    assert [pointers[0] for pointers, _ in held(bank)] == [1000, 1800, 1700, 1600, 1500, 1400]
    assert [with_tokens for _, with_tokens in held(bank)] == [True, True, True, True, False, False]
    assert all(m.tokens is None or m.tokens.dtype == torch.bfloat16 for m in (bank._seeded, *bank._recent))


def test_objects_that_ended_are_forgotten_everywhere(bank: MemoryBank) -> None:
    for frame in range(11, 16):
        bank.add(memory(frame, list(range(OBJECTS))))
    bank.keep(torch.tensor([1, 3]))
    bank.add(memory(16, [1, 3]))
    frames = [10, 16, 15, 14, 13, 12]
    assert [pointers for pointers, _ in held(bank)] == [[100 * frame + 1, 100 * frame + 3] for frame in frames]
    assert all(m.tokens is None or len(m.tokens) == 2 for m in (bank._seeded, *bank._recent))


def test_directions_remember_for_themselves(bank: MemoryBank) -> None:
    other = bank.copy()
    bank.add(memory(11, list(range(OBJECTS))))
    bank.keep(torch.tensor([0]))
    other.add(memory(9, list(range(OBJECTS))))
    assert [pointers for pointers, _ in held(bank)] == [[1000], [1100]]
    assert [pointers for pointers, _ in held(other)] == [[1000, 1001, 1002, 1003], [900, 901, 902, 903]]
