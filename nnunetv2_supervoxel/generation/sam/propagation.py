"""Masks on keyframe slices carried through the volume with SAM 2 (Ravi et al., 2024).

A sweep goes along the slices once for each direction, and carries the objects of all keyframes with it. Each object
gets what the official `SAM2VideoPredictor` gives it when it is tracked from a fresh state for each direction.
A frame, in SAM 2's words, is a slice here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from sam2.modeling.sam2_base import SAM2Base

from nnunetv2_supervoxel.generation.out_of_memory import free_memory, halve_until_it_fits, is_out_of_memory
from nnunetv2_supervoxel.generation.sam.batched_sam2 import OBJECTS_AT_ONCE, BatchedSam2
from nnunetv2_supervoxel.generation.sam.encoded_slices import EncodedSlices, storage_for
from nnunetv2_supervoxel.generation.sam.encoding import FrameReader, SliceEncoder, SliceFeatures
from nnunetv2_supervoxel.generation.sam.mask_decoding import Prediction
from nnunetv2_supervoxel.generation.sam.memory_bank import Memory, MemoryBank, MemoryPositions
from nnunetv2_supervoxel.generation.sam.slice_masks import areas, masks_of_logits, touching
from nnunetv2_supervoxel.generation.sam.tracks import Track
from nnunetv2_supervoxel.threads_and_heap import trim_heap

FRAMES_AT_ONCE = 2  # slices that the image encoder takes at once


@dataclass(frozen=True)
class Seeds:
    """Objects on a keyframe slice.

    Attributes:
        keyframe: index of the slice.
        masks: boolean (n, h, w).
    """

    keyframe: int
    masks: np.ndarray


class Propagator:
    """Carries seed masks through a volume.

    Args:
        sam2: the model; it decides the device. Some of its modules are replaced (see batched_sam2.py).
        objects_per_batch: objects tracked at once; halved when memory runs out.
        precision: "auto", "float32" or "bfloat16"; auto is bfloat16 on CUDA and float32 elsewhere.
        max_growth: how many times its area on the keyframe slice an object may cover on another one; None: any number.
        keep_slices: where encoded slices wait for the second direction, "auto", "device", "host" or "never".
    """

    def __init__(
        self,
        sam2: SAM2Base,
        objects_per_batch: int = 20,
        precision: str = "auto",
        max_growth: float | None = None,
        keep_slices: str = "auto",
    ) -> None:
        self._model = BatchedSam2(sam2)
        self._encode = SliceEncoder(sam2)
        self._device = sam2.device
        self._objects_per_batch = objects_per_batch
        self._max_growth = np.inf if max_growth is None else max_growth
        self._keep_slices = keep_slices
        if precision == "auto":
            precision = "bfloat16" if self._device.type == "cuda" else "float32"
        self._bfloat16 = precision == "bfloat16"

    def __call__(self, read_frame: FrameReader, frames: int, seeds: Sequence[Seeds]) -> list[list[Track]]:
        """Track objects from their keyframes to both ends.

        A track ends at the first slice whose mask is not 26-adjacent to the one on the slice before: nothing that
        follows could be connected with the seed. With `max_growth` it also ends at the first slice where the object
        covers more than it may.

        Args:
            read_frame: gives a slice. It is called for the keyframes and for every other slice that some object
                reaches, or that is encoded together with one; on a CPU from two threads, one for each direction.
            frames: number of slices.
            seeds: the objects of every keyframe, each keyframe once.

        Returns:
            For every keyframe one track per seed.

        Raises:
            MemoryError, torch.OutOfMemoryError: one object alone, with its state on the CPU, doesn't fit.
        """
        try:
            tracks, self._objects_per_batch = halve_until_it_fits(
                lambda batch: self._track(read_frame, frames, seeds, batch, self._device), self._objects_per_batch
            )
            trim_heap()  # components and files need memory of other sizes
            return tracks
        except Exception as error:
            if not is_out_of_memory(error) or self._device.type == "cpu":
                raise
        free_memory()
        self._objects_per_batch = 1
        return self._track(read_frame, frames, seeds, 1, torch.device("cpu"))

    def _track(
        self, read_frame: FrameReader, frames: int, seeds: Sequence[Seeds], batch: int, state: torch.device
    ) -> list[list[Track]]:
        first, last = (choose(of.keyframe for of in seeds) for choose in (min, max))
        orders = [range(first, frames), range(last, -1, -1)]
        # Out of memory, objects per batch are halved; with one object, slices are encoded one by one, too.
        at_once = min(FRAMES_AT_ONCE, batch)
        storage = storage_for((last - first) * self._bytes_of_slice(), self._keep_slices, self._device)
        slices = EncodedSlices(self._encode, read_frame, frames, at_once, orders, storage or self._device)
        with torch.inference_mode(), self._autocast():
            positions = MemoryPositions(self._model.model, frames)
            started = [self._start(slices.get(of.keyframe), of, positions, batch, state) for of in seeds]

        def sweep(order: range) -> None:
            waiting = {of.keyframe: group.copy() for of, group in zip(seeds, started, strict=True)}
            # Both hold for one thread only, so they are entered in each.
            with torch.inference_mode(), self._autocast():
                self._sweep(slices if storage else slices.for_one(order), order, waiting, batch)

        _for_each(sweep, orders, self._device)
        return [group.tracks for group in started]

    def _start(
        self, features: SliceFeatures, seeds: Seeds, positions: MemoryPositions, batch: int, state: torch.device
    ) -> _Group:
        """The objects of one keyframe, on that slice."""
        masks = torch.from_numpy(seeds.masks[:, None].astype(np.float32))
        parts = [self._model.seed(features, masks[part].to(self._device)) for part in self._parts(len(masks), batch)]
        found = masks_of_logits(torch.cat([logits for logits, _ in parts]), seeds.masks.shape[1:])
        tracks = [Track() for _ in found]
        for track, mask in zip(tracks, found, strict=True):
            track[seeds.keyframe] = mask
        bank = MemoryBank(positions, seeds.keyframe, Memory.joined([memory for _, memory in parts]), state)
        return _Group(tracks, found, self._max_growth * areas(found), bank)

    def _sweep(self, slices: EncodedSlices, order: range, waiting: dict[int, _Group], batch: int) -> None:
        """Track in one direction; `waiting` holds the objects of keyframes that are ahead, by their slices."""
        groups: list[_Group] = []
        for number, frame in enumerate(order):
            if groups:
                slices.expect(order[number:])
                features = slices.get(frame)
                for group in groups:
                    self._step(group, features, frame, batch, is_last=frame == order[-1])
                groups = _joined(groups)
            if frame in waiting:
                groups.append(waiting.pop(frame))
            if not groups and not waiting:
                break
        slices.expect(order[:0])

    def _step(self, group: _Group, features: SliceFeatures, frame: int, batch: int, is_last: bool) -> None:
        """Take a group's objects to the next slice; some end there."""
        parts = self._parts(len(group.tracks), batch)
        predicted = Prediction.joined(
            [self._model.step(features, group.bank.look_back(frame, part, self._device)) for part in parts]
        )
        masks = masks_of_logits(predicted.logits, group.before.shape[1:])
        going_on = np.flatnonzero(touching(group.before, masks) & (areas(masks) <= group.largest))
        group.before = masks
        if len(going_on) < len(group.tracks):
            group.keep(going_on)
            predicted = predicted.of(torch.from_numpy(going_on).to(self._device))
        for track, mask in zip(group.tracks, group.before, strict=True):
            track[frame] = mask
        if group.tracks and not is_last:
            parts = self._parts(len(group.tracks), batch)
            group.bank.add(Memory.joined([self._model.remember(features, predicted.of(part)) for part in parts]))

    def _parts(self, objects: int, batch: int) -> list[slice]:
        """Batches of objects, equally large as far as possible."""
        if self._device.type == "cpu":
            batch = min(batch, OBJECTS_AT_ONCE)
        ends = np.linspace(0, objects, -(-objects // batch) + 1).round().astype(int).tolist()
        return [slice(start, stop) for start, stop in pairwise(ends)]

    def _bytes_of_slice(self) -> int:
        """Of its feature maps: 1/8, 1/4 and all of the model's channels, in 1/4, 1/8 and 1/16 of the resolution."""
        model = self._model.model
        return model.hidden_dim * model.image_size**2 // 64 * (2 if self._bfloat16 else 4)

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self._device.type, torch.bfloat16) if self._bfloat16 else nullcontext()


@dataclass
class _Group:
    """Objects that are tracked together, as they have equally many memories.

    Attributes:
        tracks: one per object.
        before: boolean (objects, h, w), their masks on the slice where they are.
        largest: (objects,) pixels that they may cover.
        bank: what the model remembers of them.
    """

    tracks: list[Track]
    before: np.ndarray
    largest: np.ndarray
    bank: MemoryBank

    def copy(self) -> _Group:
        """The same tracks, for another direction."""
        return _Group(self.tracks, self.before, self.largest, self.bank.copy())

    def keep(self, objects: np.ndarray) -> None:
        """Go on with these objects only (indices into the group)."""
        self.tracks = [self.tracks[i] for i in objects]
        self.before, self.largest = self.before[objects], self.largest[objects]
        self.bank.keep(torch.from_numpy(objects))

    def join(self, other: _Group) -> None:
        """Take the objects of another group in, which has as many memories."""
        self.tracks = self.tracks + other.tracks
        self.before = np.concatenate([self.before, other.before])
        self.largest = np.concatenate([self.largest, other.largest])
        self.bank.join(other.bank)


def _joined(groups: Sequence[_Group]) -> list[_Group]:
    """Those groups that still have objects, and all with full banks as one."""
    groups = [group for group in groups if group.tracks]
    full = [group for group in groups if group.bank.is_full]
    for other in full[1:]:
        full[0].join(other)
    return full[:1] + [group for group in groups if not group.bank.is_full]


def _for_each(follow: Callable[[range], None], orders: Sequence[range], device: torch.device) -> None:
    """Call `follow` with each order of slices: on a CPU with several threads at the same time, else one by one.

    The models' operations are small, and two of them side by side keep cores busier than one that is split.
    """
    orders = [order for order in orders if len(order) > 1]
    threads = torch.get_num_threads()
    if device.type != "cpu" or not 1 < len(orders) <= threads:
        for order in orders:
            follow(order)
        return
    with ThreadPoolExecutor(len(orders), initializer=torch.set_num_threads, initargs=(threads // len(orders),)) as pool:
        try:
            for done in [pool.submit(follow, order) for order in orders]:
                done.result()
        finally:
            torch.set_num_threads(threads)  # it is this thread's setting, and at the same time the default for new ones
