from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nnunetv2_supervoxel.checkpoints.loading import load_sam2
from nnunetv2_supervoxel.generation.sam.encoded_slices import EncodedSlices, storage_for
from nnunetv2_supervoxel.generation.sam.encoding import SliceEncoder

FRAMES = 11


@pytest.fixture(scope="module")
def encode() -> SliceEncoder:
    return SliceEncoder(load_sam2("bundled").model)


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return np.random.default_rng(0).random((FRAMES, 20, 30), np.float32)


def slices_of(encode: SliceEncoder, volume: np.ndarray) -> tuple[EncodedSlices, list[int]]:
    """Slices for keyframes 3 and 7, in twos, and the list of those that were read."""
    read: list[int] = []

    def reader(frame: int) -> np.ndarray:
        read.append(frame)
        return volume[frame][None]

    return EncodedSlices(encode, reader, FRAMES, 2, [range(3, FRAMES), range(7, -1, -1)], torch.device("cpu")), read


def test_both_directions_get_slices_that_were_encoded_once(encode: SliceEncoder, volume: np.ndarray) -> None:
    slices, read = slices_of(encode, volume)
    with torch.inference_mode():
        alone = encode([volume[6][None]])[0]
        for order in (range(3, FRAMES), range(7, -1, -1)):
            for number, frame in enumerate(order):
                slices.expect(order[number:])
                found = slices.get(frame)
                if frame == 6:
                    for level, expected in zip(found.maps, alone.maps, strict=True):
                        torch.testing.assert_close(level, expected, rtol=1e-4, atol=1e-4)
            slices.expect(order[:0])
    assert sorted(read) == list(range(FRAMES))
    assert not slices._kept


def test_what_nobody_needs_any_more_is_forgotten(encode: SliceEncoder, volume: np.ndarray) -> None:
    slices, _ = slices_of(encode, volume)
    with torch.inference_mode():
        for frame in range(3, FRAMES):
            slices.expect(range(frame, FRAMES))
            slices.get(frame)
    assert sorted(slices._kept) == [1, 2, 3, 5]  # the groups up to slice 7 are for the other direction; 10 is in use
    slices.expect(range(0, -1, -1))
    assert sorted(slices._kept) == [5]


def test_a_direction_by_itself_keeps_nothing_but_what_is_there(encode: SliceEncoder, volume: np.ndarray) -> None:
    slices, read = slices_of(encode, volume)
    with torch.inference_mode():
        for keyframe in (3, 7):
            slices.get(keyframe)
        for order in (range(3, FRAMES), range(7, -1, -1)):
            alone = slices.for_one(order)
            for number, frame in enumerate(order):
                alone.expect(order[number:])
                alone.get(frame)
                assert len(alone._kept) <= 3
    assert max(read.count(frame) for frame in range(FRAMES)) == 2
    assert [frame for frame in range(FRAMES) if read.count(frame) == 2] == [4, 5]


def test_slices_wait_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=4000))
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda _: (300, 10_000))
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda _: 150)
    monkeypatch.setattr("torch.cuda.memory_allocated", lambda _: 50)
    assert [storage_for(needed, "auto", cuda) for needed in (100, 101, 1000, 1001)] == [cuda, cpu, cpu, None]
    assert [storage_for(needed, "auto", cpu) for needed in (1000, 1001)] == [cpu, None]
    assert [storage_for(10_000, keep, cuda) for keep in ("device", "host", "never")] == [cuda, cpu, None]
