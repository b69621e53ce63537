"""Masks on keyframe slices carried through the volume with SAM 2 (Ravi et al., 2024).

A sweep goes along the slices once for each direction, and carries the objects of all keyframes with it. Each object
gets what the official `SAM2VideoPredictor` gives it when it is tracked from a fresh state for each direction.
A frame, in SAM 2's words, is a slice here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, pairwise
from threading import Event

import numpy as np
import torch
from sam2.modeling.sam2_base import SAM2Base

from nnunetv2_supervoxel.generation.out_of_memory import free_memory, halve_until_it_fits, is_out_of_memory
from nnunetv2_supervoxel.generation.sam.batched_sam2 import OBJECTS_AT_ONCE, BatchedSam2
from nnunetv2_supervoxel.generation.sam.encoded_slices import EncodedSlices, storage_for
from nnunetv2_supervoxel.generation.sam.encoding import FrameReader, SliceEncoder, SliceFeatures, in_precision
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
        check_consistency: track the ends of every track back to its keyframe.

    Attributes:
        precision: "float32" or "bfloat16".
    """

    def __init__(
        self,
        sam2: SAM2Base,
        objects_per_batch: int = 20,
        precision: str = "auto",
        max_growth: float | None = None,
        keep_slices: str = "auto",
        check_consistency: bool = False,
    ) -> None:
        self._model = BatchedSam2(sam2)
        self._encode = SliceEncoder(sam2)
        self._device = sam2.device
        self._objects_per_batch = objects_per_batch
        self._max_growth = np.inf if max_growth is None else max_growth
        self._keep_slices = keep_slices
        self._check_consistency = check_consistency
        if precision == "auto":
            precision = "bfloat16" if self._device.type == "cuda" else "float32"
        self.precision = precision

    def __call__(
        self,
        read_frame: FrameReader,
        frames: int,
        seeds: Sequence[Seeds],
        known: Mapping[int, SliceFeatures] | None = None,
    ) -> list[list[Track]]:
        """Track objects from their keyframes to both ends.

        A track ends at the first slice whose mask is not 26-adjacent to the one on the slice before: nothing that
        follows could be connected with the seed. With `max_growth` it also ends at the first slice where the object
        covers more than it may.

        Args:
            read_frame: gives a slice. It is called for the keyframes and for every other slice that some object
                reaches, or that is encoded together with one; on a CPU from two threads, one for each direction.
            frames: number of slices.
            seeds: the objects of every keyframe, each keyframe once.
            known: slices that are encoded already, in the same precision, by their index.

        Returns:
            For every keyframe one track per seed.

        Raises:
            MemoryError, torch.OutOfMemoryError: one object alone, with its state on the CPU, doesn't fit.
        """
        try:
            tracks, _ = halve_until_it_fits(  # the next case begins with whole batches again, as it would alone
                lambda batch: self._track(read_frame, frames, seeds, known, batch, self._device),
                self._objects_per_batch,
            )
            trim_heap()  # components and files need memory of other sizes
            return tracks
        except Exception as error:
            if not is_out_of_memory(error) or self._device.type == "cpu":
                raise
        free_memory()
        return self._track(read_frame, frames, seeds, known, 1, torch.device("cpu"))

    def _track(
        self,
        read_frame: FrameReader,
        frames: int,
        seeds: Sequence[Seeds],
        known: Mapping[int, SliceFeatures] | None,
        batch: int,
        state: torch.device,
    ) -> list[list[Track]]:
        first, last = (choose(of.keyframe for of in seeds) for choose in (min, max))
        there = [range(first, frames), range(last, -1, -1)]
        back = [range(frames - 1, first - 1, -1), range(last + 1)] if self._check_consistency else []
        # Out of memory, objects per batch are halved; with one object, slices are encoded one by one, too.
        at_once = min(FRAMES_AT_ONCE, batch)
        waiting = (frames if back else last - first) * self._bytes_of_slice()
        storage = storage_for(waiting, self._keep_slices, self._device)
        slices = EncodedSlices(
            self._encode, read_frame, frames, at_once, there, storage or self._device, later=back, known=known
        )
        tracks = [[Track() for _ in of.masks] for of in seeds]
        with torch.inference_mode(), in_precision(self.precision, self._device):
            positions = MemoryPositions(self._model.model, frames)
            run = _Run(slices, storage is not None, positions, batch, state)
            pairs = zip(seeds, tracks, strict=True)
            started = {of.keyframe: self._start(run, slices, of, its_tracks) for of, its_tracks in pairs}

        def go_there(order: range) -> None:
            waiting = {keyframe: partial(group.copy, stop=order[-1]) for keyframe, group in started.items()}
            self._sweep(run, run.slices_for(order), order, waiting)

        _for_each(go_there, there, self._device, run.given_up)
        if back:
            slices.go_on()
            self._come_back(run, seeds, tracks, back)
        return tracks

    def _come_back(
        self, run: _Run, seeds: Sequence[Seeds], tracks: Sequence[Sequence[Track]], orders: Sequence[range]
    ) -> None:
        """Track the ends of all tracks back to their keyframes, and note how consistent they are with the seeds."""
        size = seeds[0].masks.shape[1:]
        returns = {order.step: _returns(tracks, seeds, order.step) for order in orders}

        def come_back(order: range) -> None:
            slices = run.slices_for(order)

            def begin(end: int, its_returns: list[_Return]) -> _Group:
                masks = np.stack([one.track.mask(end, size) for one in its_returns])
                group = self._start(run, slices, Seeds(end, masks), its_returns)
                group.largest = np.full(len(its_returns), np.inf)
                group.stops = np.array([one.keyframe for one in its_returns])
                return group

            waiting = {end: partial(begin, end, its_returns) for end, its_returns in returns[order.step].items()}
            self._sweep(run, slices, order, waiting)

        _for_each(come_back, orders, self._device, run.given_up)
        for one in chain.from_iterable(chain.from_iterable(of.values()) for of in returns.values()):
            one.track.consistency = min(one.dice, 1.0 if one.track.consistency is None else one.track.consistency)

    def _start(
        self,
        run: _Run,
        slices: EncodedSlices,
        seeds: Seeds,
        tracks: Sequence[Track | _Return],
    ) -> _Group:
        """Objects on the slice where their masks are known."""
        features = slices.get(seeds.keyframe)
        masks = torch.from_numpy(seeds.masks[:, None].astype(np.float32))
        parts = [
            self._model.seed(features, masks[part].to(self._device)) for part in self._parts(len(masks), run.batch)
        ]
        found = masks_of_logits(torch.cat([logits for logits, _ in parts]), seeds.masks.shape[1:])
        for track, mask in zip(tracks, found, strict=True):
            track[seeds.keyframe] = mask
        bank = MemoryBank(run.positions, seeds.keyframe, Memory.joined([memory for _, memory in parts]), run.state)
        largest = self._max_growth * areas(found)
        return _Group(list(tracks), found, largest, np.full(len(found), seeds.keyframe), bank)

    def _sweep(
        self, run: _Run, slices: EncodedSlices, order: range, waiting: Mapping[int, Callable[[], _Group]]
    ) -> None:
        """Track in one direction; `waiting` makes the objects of slices that are ahead."""
        with torch.inference_mode(), in_precision(self.precision, self._device):  # both hold for one thread only
            groups: list[_Group] = []
            begun = 0
            for number, frame in enumerate(order):
                if run.given_up.is_set():
                    break
                if groups:
                    slices.expect(order[number:])
                    features = slices.get(frame)
                    for group in groups:
                        self._step(group, features, frame, run.batch)
                    groups = _joined(groups)
                if frame in waiting:
                    groups.append(waiting[frame]())
                    begun += 1
                if not groups and begun == len(waiting):
                    break
            slices.expect(order[:0])

    def _step(self, group: _Group, features: SliceFeatures, frame: int, batch: int) -> None:
        """Take a group's objects to the next slice; some end there."""
        parts = self._parts(len(group.tracks), batch)
        predicted = Prediction.joined(
            [self._model.step(features, group.bank.look_back(frame, part, self._device)) for part in parts]
        )
        masks = masks_of_logits(predicted.logits, group.before.shape[1:])
        there = touching(group.before, masks) & (areas(masks) <= group.largest)
        for i in np.flatnonzero(there):
            group.tracks[i][frame] = masks[i]
        group.before = masks
        going_on = np.flatnonzero(there & (group.stops != frame))
        if len(going_on) < len(group.tracks):
            group.keep(going_on)
            predicted = predicted.of(torch.from_numpy(going_on).to(self._device))
        if group.tracks:
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
        return model.hidden_dim * model.image_size**2 // 64 * (2 if self.precision == "bfloat16" else 4)


@dataclass(frozen=True)
class _Run:
    """What one propagation has at hand.

    Attributes:
        slices: encoded for all directions.
        keeps: whether they wait for the other direction.
        positions: where memories are.
        batch: objects at once.
        state: where memories are stored.
        given_up: set when one direction has failed, or the run was stopped, so that the other one ends, too.
    """

    slices: EncodedSlices
    keeps: bool
    positions: MemoryPositions
    batch: int
    state: torch.device
    given_up: Event = field(default_factory=Event)

    def slices_for(self, order: range) -> EncodedSlices:
        """What one direction reads from."""
        return self.slices if self.keeps else self.slices.for_one(order)


@dataclass(eq=False)
class _Return:
    """A track's way back: of it only the mask on the keyframe matters, and its Dice with the one that was there.

    Attributes:
        track: went from the keyframe to an end.
        keyframe: index of that slice.
        dice: 0 as long as nothing came back.
    """

    track: Track
    keyframe: int
    dice: float = 0.0

    def __setitem__(self, frame: int, mask: np.ndarray) -> None:
        if frame == self.keyframe:
            seed = self.track.mask(frame, mask.shape)
            self.dice = 2 * np.count_nonzero(mask & seed) / (np.count_nonzero(mask) + np.count_nonzero(seed))


@dataclass
class _Group:
    """Objects that are tracked together, as they have equally many memories.

    Attributes:
        tracks: one per object.
        before: boolean (objects, h, w), their masks on the slice where they are.
        largest: (objects,) pixels that they may cover.
        stops: (objects,) the slice on which each is done.
        bank: what the model remembers of them.
    """

    tracks: list[Track | _Return]
    before: np.ndarray
    largest: np.ndarray
    stops: np.ndarray
    bank: MemoryBank

    def copy(self, stop: int) -> _Group:
        """The same tracks, for a direction that ends on slice `stop`."""
        return _Group(self.tracks, self.before, self.largest, np.full_like(self.stops, stop), self.bank.copy())

    def keep(self, objects: np.ndarray) -> None:
        """Go on with these objects only (indices into the group)."""
        self.tracks = [self.tracks[i] for i in objects]
        self.before, self.largest, self.stops = (of[objects] for of in (self.before, self.largest, self.stops))
        self.bank.keep(torch.from_numpy(objects))

    def join(self, other: _Group) -> None:
        """Take the objects of another group in, which has as many memories."""
        self.tracks = self.tracks + other.tracks
        self.before = np.concatenate([self.before, other.before])
        self.largest = np.concatenate([self.largest, other.largest])
        self.stops = np.concatenate([self.stops, other.stops])
        self.bank.join(other.bank)


def _returns(tracks: Sequence[Sequence[Track]], seeds: Sequence[Seeds], step: int) -> dict[int, list[_Return]]:
    """What comes back to its keyframe in the direction of `step`, by the slice on which it begins."""
    returns: dict[int, list[_Return]] = {}
    for of, its_tracks in zip(seeds, tracks, strict=True):
        for track in its_tracks:
            first, last = track.ends() or (of.keyframe, of.keyframe)
            end = last if step < 0 else first
            if end != of.keyframe:
                returns.setdefault(_beginning(of.keyframe, end), []).append(_Return(track, of.keyframe))
    return returns


def _beginning(keyframe: int, end: int) -> int:
    """The slice from which a track is tracked back: in its last quarter, and if possible the same as of other tracks.

    Those that begin together are tracked as one group, which takes a fraction of the time.
    """
    first = end - int((end - keyframe) / 4)
    slices = range(min(first, end), max(first, end) + 1)
    return max(
        slices, key=lambda frame: (next(step for step in (8, 4, 2, 1) if frame % step == 0), abs(frame - keyframe))
    )


def _joined(groups: Sequence[_Group]) -> list[_Group]:
    """Those groups that still have objects, and all with full banks as one."""
    groups = [group for group in groups if group.tracks]
    full = [group for group in groups if group.bank.is_full]
    for other in full[1:]:
        full[0].join(other)
    return full[:1] + [group for group in groups if not group.bank.is_full]


def _for_each(follow: Callable[[range], None], orders: Sequence[range], device: torch.device, given_up: Event) -> None:
    """Call `follow` with each order of slices: on a CPU with several threads at the same time, else one by one.

    The models' operations are small, and two of them side by side keep cores busier than one that is split.
    `given_up` is set when one of them fails, or a signal asks the run to stop.
    """
    orders = [order for order in orders if len(order) > 1]
    threads = torch.get_num_threads()
    if device.type != "cpu" or not 1 < len(orders) <= threads:
        for order in orders:
            follow(order)
        return
    with ThreadPoolExecutor(len(orders), initializer=torch.set_num_threads, initargs=(threads // len(orders),)) as pool:
        try:
            followed = [pool.submit(follow, order) for order in orders]
            for done in wait(followed, return_when=FIRST_EXCEPTION).done:
                done.result()
        except BaseException:
            given_up.set()
            raise
        finally:
            torch.set_num_threads(threads)  # it is this thread's setting, and at the same time the default for new ones
