"""What SAM 2 remembers of the slices that it has been on."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sam2.modeling.sam2_base import SAM2Base
from sam2.modeling.sam2_utils import get_1d_sine_pe


@dataclass(frozen=True)
class Memory:
    """What is remembered of objects on one slice.

    Attributes:
        tokens: (objects, pixels, channels), stored as bfloat16, as the official predictor stores them; None where the
            slice lies so far behind that only pointers are looked at.
        pointers: (objects, channels).
    """

    tokens: torch.Tensor | None
    pointers: torch.Tensor

    def of(self, objects: torch.Tensor | slice) -> Memory:
        """The part of some objects (indices into the batch)."""
        return Memory(None if self.tokens is None else self.tokens[objects], self.pointers[objects])

    @classmethod
    def joined(cls, parts: Sequence[Memory]) -> Memory:
        """What is remembered of several batches of objects, one behind the other."""
        if len(parts) == 1:
            return parts[0]
        tokens = [part.tokens for part in parts if part.tokens is not None]
        return cls(torch.cat(tokens) if tokens else None, torch.cat([part.pointers for part in parts]))

    def without_tokens(self) -> Memory:
        """What is left of it when the slice lies too far behind."""
        return Memory(None, self.pointers)


class MemoryPositions:
    """Where and when memories are of, as SAM 2 encodes it. It doesn't depend on the objects.

    Args:
        model: its encodings.
        frames: number of slices; in a short volume pointers are told apart by other numbers.
    """

    def __init__(self, model: SAM2Base, frames: int) -> None:
        self.memories = model.num_maskmem - 1
        self.pointers = min(frames, model.max_obj_ptrs_in_encoder) - 1
        size = model.sam_image_embedding_size
        grid = torch.empty(1, 1, size, size, device=model.device)
        of_pixels = model.memory_encoder.position_encoding(grid).flatten(2).transpose(1, 2)
        of_ages = model.maskmem_tpos_enc.flatten(1)[:, None]  # the last one is the keyframe's
        self._tokens = (of_pixels + of_ages).roll(1, 0)
        distances = torch.arange(frames, device=model.device) / self.pointers
        self._pointers = model.obj_ptr_tpos_proj(get_1d_sine_pe(distances, dim=model.hidden_dim))

    def of_tokens(self, memories: int) -> torch.Tensor:
        """(pixels of all memories, channels): of the keyframe's memory and of the last ones, the latest first."""
        return self._tokens[: memories + 1].flatten(0, 1)

    def of_pointers(self, distances: torch.Tensor) -> torch.Tensor:
        """(..., channels) of pointers so many slices away."""
        return self._pointers[distances]


class MemoryBank:
    """What the model may look back at in one direction: the keyframe, the last memories, the last object pointers.

    All objects have equally many memories. Anything older is forgotten, so the bank doesn't grow with the volume.

    Args:
        positions: they also say how far the model looks back.
        keyframe: index of the objects' keyframe.
        seeded: the memory of that slice.
        device: where memories are stored.
    """

    def __init__(self, positions: MemoryPositions, keyframe: int, seeded: Memory, device: torch.device) -> None:
        self._positions = positions
        self._device = device
        self._keyframes = torch.full((len(seeded.pointers),), keyframe)
        self._seeded = self._stored(seeded)
        self._recent: list[Memory] = []  # the latest first

    @property
    def is_full(self) -> bool:
        """Whether the bank holds as many memories as it ever will."""
        return len(self._recent) == self._positions.pointers

    def add(self, memory: Memory) -> None:
        """Remember the slice that the objects are on, and forget what now lies too far behind."""
        recent = [self._stored(memory), *self._recent[: self._positions.pointers - 1]]
        within_reach = self._positions.memories
        self._recent = recent[:within_reach] + [older.without_tokens() for older in recent[within_reach:]]

    def keep(self, objects: torch.Tensor) -> None:
        """Forget all objects but these (indices into the batch)."""
        self._keyframes = self._keyframes[objects]
        objects = objects.to(self._device)
        self._seeded = self._seeded.of(objects)
        self._recent = [memory.of(objects) for memory in self._recent]

    def join(self, other: MemoryBank) -> None:
        """Take the objects of another bank in; both are full, and on the same slice."""
        self._keyframes = torch.cat([self._keyframes, other._keyframes])
        self._seeded = Memory.joined([self._seeded, other._seeded])
        self._recent = [Memory.joined(both) for both in zip(self._recent, other._recent, strict=True)]

    def copy(self) -> MemoryBank:
        """A bank with the same memories, for another direction."""
        return copy.copy(self)  # lists of memories are replaced, never changed

    def look_back(self, frame: int, objects: slice, device: torch.device) -> LookBack:
        """What some objects may look at from a slice."""
        memories = [self._seeded, *self._recent]
        tokens = [memory.tokens[objects] for memory in memories if memory.tokens is not None]
        pointers = torch.stack([memory.pointers[objects] for memory in memories], 1).to(device)
        channels = tokens[0].shape[2]
        # A pointer is longer than a token, and is split into several.
        split = pointers.shape[2] // channels
        values = torch.cat([*(part.to(device) for part in tokens), pointers.reshape(len(pointers), -1, channels)], 1)
        of_recent = torch.arange(1, len(memories)).expand(len(pointers), -1)
        of_keyframe = (frame - self._keyframes[objects]).abs()[:, None]
        of_pointers = self._positions.of_pointers(torch.cat([of_keyframe, of_recent], 1).to(device))
        keys = values.clone()
        of_tokens = self._positions.of_tokens(len(tokens) - 1)
        keys[:, : len(of_tokens)] += of_tokens
        keys[:, len(of_tokens) :] += of_pointers.repeat_interleave(split, 1)
        return LookBack(keys, values, len(tokens))

    def _stored(self, memory: Memory) -> Memory:
        tokens = None if memory.tokens is None else memory.tokens.to(self._device, torch.bfloat16)
        return Memory(tokens, memory.pointers.to(self._device))


@dataclass(frozen=True)
class LookBack:
    """What objects attend to on a slice.

    Attributes:
        keys: (objects, tokens, channels), with positions; first the tokens of the memories' pixels, then of pointers.
        values: the same without positions.
        memories: how many memories the tokens of pixels are of.
    """

    keys: torch.Tensor
    values: torch.Tensor
    memories: int
