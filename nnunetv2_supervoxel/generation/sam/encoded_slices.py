"""Encoded slices, kept as long as a direction of propagation still needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock

import psutil
import torch

from nnunetv2_supervoxel.generation.sam.encoding import FrameReader, SliceEncoder, SliceFeatures


def storage_for(needed: int, keep: str, device: torch.device) -> torch.device | None:
    """Where encoded slices wait for the second direction.

    Args:
        needed: bytes of those that wait at most.
        keep: "device", "host" or "never"; "auto" is the first of them with four times as much free memory as needed.
        device: where slices are encoded.

    Returns:
        None if they are not kept.
    """
    host = torch.device("cpu")
    if keep == "auto":
        # What PyTorch has reserved and doesn't use at the moment is free for it, too.
        if device.type == "cuda":
            free = torch.cuda.mem_get_info(device)[0]
            free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            if needed <= free / 4:
                return device
        return host if needed <= psutil.virtual_memory().available / 4 else None
    return {"device": device, "host": host, "never": None}[keep]


class EncodedSlices:
    """Slices of a volume, each encoded once for all directions that read from here.

    Slices are encoded in groups of neighbours. A group doesn't depend on who asks first, so rounding doesn't either.

    Args:
        encode: the encoder.
        read_frame: gives a slice.
        frames: number of slices.
        at_once: so many slices are encoded together.
        orders: for each direction the slices that it may ask for.
        storage: where encoded slices wait.
        later: what directions may ask for after these, see `go_on`.
        known: slices that have been encoded before, by their index.
    """

    def __init__(
        self,
        encode: SliceEncoder,
        read_frame: FrameReader,
        frames: int,
        at_once: int,
        orders: Sequence[range],
        storage: torch.device,
        later: Sequence[range] = (),
        known: Mapping[int, SliceFeatures] | None = None,
    ) -> None:
        self._encode, self._read_frame = encode, read_frame
        self._frames, self._at_once = frames, at_once
        self._ahead = {order.step: order for order in orders}
        self._later = later
        self._known = dict(known or {})
        self._storage = storage
        self._kept: dict[int, list[SliceFeatures]] = {}
        self._locks: dict[int, Lock] = {}
        self._lock = Lock()

    def get(self, frame: int) -> SliceFeatures:
        """One slice, as the encoder gives it."""
        number = frame // self._at_once
        with self._lock:
            of_group = self._locks.setdefault(number, Lock())
        with of_group:  # the other direction may be encoding it just now
            if number not in self._kept:
                slices = range(number * self._at_once, min((number + 1) * self._at_once, self._frames))
                new = [i for i in slices if i not in self._known]
                features = self._encode([self._read_frame(i) for i in new]) if new else []
                encoded = self._known | dict(zip(new, features, strict=True))
                self._kept[number] = [encoded[i].to(self._storage) for i in slices]
            return self._kept[number][frame % self._at_once].to(self._encode.device)

    def expect(self, ahead: range) -> None:
        """Forget what is neither among these slices nor ahead of another direction.

        Args:
            ahead: what the direction of the range's step may still ask for.
        """
        with self._lock:
            self._ahead[ahead.step] = ahead
            for number in list(self._kept):
                slices = range(number * self._at_once, (number + 1) * self._at_once)
                orders = [*self._ahead.values(), *self._later]
                if not any(frame in order for order in orders for frame in slices):
                    del self._kept[number]

    def go_on(self) -> None:
        """The directions are done, and what comes later is next."""
        self._ahead, self._later = {order.step: order for order in self._later}, ()

    def for_one(self, order: range) -> EncodedSlices:
        """The same for one direction alone, with what is kept here by now."""
        alone = EncodedSlices(
            self._encode, self._read_frame, self._frames, self._at_once, [order], self._storage, known=self._known
        )
        alone._kept = dict(self._kept)
        return alone
