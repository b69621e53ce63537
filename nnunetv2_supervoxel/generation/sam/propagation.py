"""Masks on one slice carried through the volume with SAM 2 (Ravi et al., 2024).

The model is driven through `SAM2Base.track_step`, with all objects of a case in one batch. What each object gets is
what the official `SAM2VideoPredictor` gives it when it is tracked alone, from a fresh state for each direction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from threading import Lock

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from sam2.modeling.sam2_base import SAM2Base

from nnunetv2_supervoxel.generation.out_of_memory import free_memory, halve_until_it_fits, is_out_of_memory
from nnunetv2_supervoxel.generation.sam.batched_sam2 import make_lean, objects_at_once
from nnunetv2_supervoxel.masks.boxes import bounding_box
from nnunetv2_supervoxel.threads_and_heap import trim_heap

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

FRAMES_AT_ONCE = 2  # slices that the image encoder takes at once, and by how many it may run ahead of the objects

# What `track_step` gives for every object, and is read here.
_OF_OBJECTS = ("pred_masks_high_res", "obj_ptr", "object_score_logits")

FrameReader = Callable[[int], np.ndarray]
"""Gives slice `i` as float32 (3, h, w) in [0, 1], or (1, h, w) where all colours are the same.

Called once for the keyframe and for every other slice that some object reaches, or that is encoded together with one;
on a CPU from two threads, one for each direction.
"""


class Track:
    """One object's masks, slice by slice, each kept as the bits in its bounding box.

    All bits lie in one buffer: as thousands of small arrays they would lie scattered among the tensors of tracking, and
    the memory between them couldn't be used again for large ones.
    """

    def __init__(self) -> None:
        self._bits = bytearray()
        self._crops: dict[int, tuple[tuple[slice, ...], int]] = {}  # box, and where its bits begin
        self._lock = Lock()  # two directions are tracked at the same time

    def __setitem__(self, frame: int, mask: np.ndarray) -> None:
        """Set the mask (h, w) of a slice."""
        box = bounding_box(mask)
        if box is not None:
            bits = np.packbits(mask[box], axis=1)
            with self._lock:
                self._crops[frame] = box, len(self._bits)
                self._bits += bits.tobytes()  # row by row, in whatever order torch left the mask

    def box(self) -> tuple[slice, slice, slice] | None:
        """Bounding box of the whole object; None if it is empty."""
        if not self._crops:
            return None
        boxes = [box for box, _ in self._crops.values()]
        spans = [slice(min(b[i].start for b in boxes), max(b[i].stop for b in boxes)) for i in (0, 1)]
        return slice(min(self._crops), max(self._crops) + 1), spans[0], spans[1]

    def in_box(self, box: tuple[slice, slice, slice]) -> np.ndarray:
        """What lies in the box, as a boolean array of its shape."""
        mask = np.zeros([side.stop - side.start for side in box], bool)
        for frame in range(box[0].start, box[0].stop):
            if frame not in self._crops:
                continue
            crop, start = self._crops[frame]
            both = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(crop, box[1:], strict=True)]
            if any(side.start >= side.stop for side in both):
                continue
            rows, columns = (slice(b.start - c.start, b.stop - c.start) for b, c in zip(both, crop, strict=True))
            unpacked = np.unpackbits(self._rows(crop, start)[rows], axis=1, count=columns.stop)
            place = (slice(b.start - o.start, b.stop - o.start) for b, o in zip(both, box[1:], strict=True))
            mask[(frame - box[0].start, *place)] = unpacked[:, columns]
        return mask

    def _rows(self, crop: tuple[slice, ...], start: int) -> np.ndarray:
        """The bits of a crop, packed along its rows."""
        height, width = (side.stop - side.start for side in crop)
        shape = height, -(-width // 8)
        return np.frombuffer(self._bits, np.uint8, shape[0] * shape[1], start).reshape(shape)


@dataclass
class _Features:
    """SAM 2's encoding of one slice, batch size 1, in the form that `track_step` takes."""

    vision: list[torch.Tensor]
    positions: list[torch.Tensor]
    sizes: list[tuple[int, int]]

    def expanded(self, objects: int) -> dict:
        return {
            "current_vision_feats": [feature.expand(-1, objects, -1) for feature in self.vision],
            "current_vision_pos_embeds": [position.expand(-1, objects, -1) for position in self.positions],
            "feat_sizes": self.sizes,
        }


class Propagator:
    """Carries seed masks through a volume.

    Args:
        sam2: the model; it decides the device. It is made lean (see lean_sam2.py).
        objects_per_batch: objects tracked at once; halved when memory runs out.
        precision: "auto", "float32" or "bfloat16"; auto is bfloat16 on CUDA and float32 elsewhere.
        max_growth: how many times its area on the keyframe slice an object may cover on another one; None: any number.
    """

    def __init__(
        self,
        sam2: SAM2Base,
        objects_per_batch: int = 20,
        precision: str = "auto",
        max_growth: float | None = None,
    ) -> None:
        self._model = make_lean(sam2)
        self._device = sam2.device
        self._objects_per_batch = objects_per_batch
        self._max_growth = np.inf if max_growth is None else max_growth
        if precision == "auto":
            precision = "bfloat16" if self._device.type == "cuda" else "float32"
        self._bfloat16 = precision == "bfloat16"
        self._mean = torch.tensor(IMAGENET_MEAN, device=self._device).view(3, 1, 1)
        self._std = torch.tensor(IMAGENET_STD, device=self._device).view(3, 1, 1)

    def __call__(self, read_frame: FrameReader, frames: int, seeds: np.ndarray, keyframe: int) -> list[Track]:
        """Track objects from the keyframe to both ends.

        A track ends at the first slice whose mask is not 26-adjacent to the one on the slice before: nothing that
        follows could be connected with the seed. With `max_growth` it also ends at the first slice where the object
        covers more than it may.

        Args:
            read_frame: gives a slice.
            frames: number of slices.
            seeds: boolean (n, h, w), the objects on the keyframe slice.
            keyframe: index of that slice.

        Returns:
            One track per seed.

        Raises:
            MemoryError, torch.OutOfMemoryError: one object alone, with its state on the CPU, doesn't fit.
        """
        try:
            tracks, self._objects_per_batch = halve_until_it_fits(
                lambda batch: self._in_batches(read_frame, frames, seeds, keyframe, batch, self._device),
                self._objects_per_batch,
            )
            trim_heap()  # components and files need memory of other sizes
            return tracks
        except Exception as error:
            if not is_out_of_memory(error) or self._device.type == "cpu":
                raise
        free_memory()
        self._objects_per_batch = 1
        return self._in_batches(read_frame, frames, seeds, keyframe, 1, torch.device("cpu"))

    def _in_batches(
        self, read_frame: FrameReader, frames: int, seeds: np.ndarray, keyframe: int, batch: int, state: torch.device
    ) -> list[Track]:
        tracks: list[Track] = []
        for start in range(0, len(seeds), batch):
            tracks += self._track(read_frame, frames, seeds[start : start + batch], keyframe, state)
        return tracks

    def _track(
        self, read_frame: FrameReader, frames: int, seeds: np.ndarray, keyframe: int, state_device: torch.device
    ) -> list[Track]:
        tracks = [Track() for _ in seeds]
        with torch.inference_mode(), self._autocast():
            [features] = self._encode([read_frame(keyframe)])
            seeded = self._seed(features, seeds, keyframe, frames)
            masks = self._to_image(seeded["pred_masks"], seeds.shape[1:])
        for track, mask in zip(tracks, masks, strict=True):
            track[keyframe] = mask

        def follow(order: range) -> None:
            bank = _MemoryBank(self._model, keyframe, seeded, state_device)
            # Both hold for one thread only, so they are entered in each.
            with torch.inference_mode(), self._autocast():
                self._follow(read_frame, order, frames, bank, masks, tracks)

        _for_each(follow, [range(keyframe + 1, frames), range(keyframe - 1, -1, -1)], self._device)
        return tracks

    def _follow(
        self,
        read_frame: FrameReader,
        order: range,
        frames: int,
        bank: _MemoryBank,
        before: np.ndarray,
        tracks: list[Track],
    ) -> None:
        """Track in one direction; `before` (objects, h, w) are the masks on the keyframe."""
        alive = list(range(len(tracks)))
        largest = self._max_growth * _areas(before)
        for frame, features in self._look_ahead(read_frame, order, min(FRAMES_AT_ONCE, len(tracks))):
            output = self._model.track_step(
                frame_idx=frame,
                is_init_cond_frame=False,
                point_inputs=None,
                mask_inputs=None,
                output_dict=bank.outputs,
                num_frames=frames,
                track_in_reverse=order.step < 0,
                run_mem_encoder=False,
                **features.expanded(len(alive)),
            )
            masks = self._to_image(output["pred_masks"], before.shape[1:])
            going_on = np.flatnonzero(_touching(before, masks) & (_areas(masks) <= largest))
            if len(going_on) < len(alive):
                kept = torch.from_numpy(going_on).to(self._device)
                bank.keep(kept)
                masks, largest = masks[going_on], largest[going_on]
                output = {key: value[kept] for key, value in output.items() if key in _OF_OBJECTS}
                alive = [alive[i] for i in going_on]
            for index, mask in zip(alive, masks, strict=True):
                tracks[index][frame] = mask
            if not alive or frame == order[-1]:
                return
            self._remember(features, output, output["pred_masks_high_res"], from_points=False)
            bank.add(frame, output, order.step)
            before = masks

    def _look_ahead(self, read_frame: FrameReader, order: range, at_once: int) -> Iterator[tuple[int, _Features]]:
        """Slices in that order with their encoding; so many are encoded at once, and only when the first is needed.

        Out of memory, objects per batch are halved; with one object, slices are encoded one by one, too.
        """
        for start in range(0, len(order), at_once):
            chunk = order[start : start + at_once]
            yield from zip(chunk, self._encode([read_frame(frame) for frame in chunk]), strict=True)

    def _seed(self, features: _Features, seeds: np.ndarray, keyframe: int, frames: int) -> dict:
        """The conditioning frame's output, as the official predictor's `add_new_mask` and preflight make it."""
        masks = F.interpolate(
            torch.from_numpy(seeds[:, None].astype(np.float32)).to(self._device),
            size=(self._model.image_size, self._model.image_size),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        output = self._model.track_step(
            frame_idx=keyframe,
            is_init_cond_frame=True,
            point_inputs=None,
            mask_inputs=(masks >= 0.5).float(),
            output_dict={"cond_frame_outputs": {}, "non_cond_frame_outputs": {}},
            num_frames=frames,
            run_mem_encoder=False,
            **features.expanded(len(seeds)),
        )
        # The predictor encodes the memory not from the mask that it was given, but from what is left of it at a
        # quarter of the resolution, and as a mask "from points", which it binarises.
        size = (self._model.image_size, self._model.image_size)
        remaining = F.interpolate(output["pred_masks"], size=size, mode="bilinear", align_corners=False)
        self._remember(features, output, remaining, from_points=True)
        return output

    def _remember(self, features: _Features, output: dict, masks: torch.Tensor, from_points: bool) -> None:
        """Encode what later slices will look back at, and add it to the output of `track_step`.

        It is left out of `track_step` itself, so that it isn't done for objects that end on this slice.
        """
        at_once = objects_at_once(len(masks), masks.device)
        encoded = [
            self._model._encode_new_memory(
                current_vision_feats=features.expanded(len(part))["current_vision_feats"],
                feat_sizes=features.sizes,
                pred_masks_high_res=part,
                object_score_logits=scores,
                is_mask_from_pts=from_points,
            )
            for part, scores in zip(masks.split(at_once), output["object_score_logits"].split(at_once), strict=True)
        ]
        output["maskmem_features"] = torch.cat([memories for memories, _ in encoded])
        output["maskmem_pos_enc"] = encoded[0][1]  # the same for all objects

    def _encode(self, frames: Sequence[np.ndarray]) -> list[_Features]:
        """Resize slices to the model's square, normalise, and run the image encoder on all of them at once.

        Normalising gives slices of one channel their three.
        """
        images = F.interpolate(
            torch.from_numpy(np.stack(frames)).to(self._device),
            size=(self._model.image_size, self._model.image_size),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        encoded = self._model.forward_image((images - self._mean) / self._std)
        _, vision, positions, sizes = self._model._prepare_backbone_features(encoded)
        return [
            _Features([level[:, i : i + 1] for level in vision], [level[:, i : i + 1] for level in positions], sizes)
            for i in range(len(frames))
        ]

    @staticmethod
    def _to_image(logits: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
        """Low-resolution logits (objects, 1, h/4, w/4) as boolean masks (objects, *size)."""
        enlarged = F.interpolate(logits.float(), size=tuple(size), mode="bilinear", align_corners=False)[:, 0]
        return (enlarged > 0).cpu().numpy()

    def _autocast(self) -> AbstractContextManager:
        return torch.autocast(self._device.type, torch.bfloat16) if self._bfloat16 else nullcontext()


class _MemoryBank:
    """What the model may look back at: the keyframe, the last memories and the last object pointers, nothing older.

    Args:
        model: its sizes say how far it looks back.
        keyframe: index of the conditioning frame.
        seeded: that frame's output.
        device: where memories are stored.
    """

    def __init__(self, model: SAM2Base, keyframe: int, seeded: dict, device: torch.device) -> None:
        self._memories = model.num_maskmem - 1
        self._pointers = model.max_obj_ptrs_in_encoder - 1
        self._device = device
        self.outputs = {"cond_frame_outputs": {keyframe: self._compact(seeded)}, "non_cond_frame_outputs": {}}

    def add(self, frame: int, output: dict, step: int) -> None:
        """Remember a frame's output, `step` being the direction, and forget what lies too far behind."""
        recent = self.outputs["non_cond_frame_outputs"]
        recent[frame] = self._compact(output)
        recent.pop(frame - step * self._pointers, None)
        if (out_of_reach := recent.get(frame - step * self._memories)) is not None:
            out_of_reach["maskmem_features"] = out_of_reach["maskmem_pos_enc"] = None

    def keep(self, objects: torch.Tensor) -> None:
        """Forget all objects but these (indices into the batch)."""
        for output in self._all():
            for key in ("maskmem_features", "obj_ptr"):
                if output[key] is not None:
                    output[key] = output[key][objects.to(output[key].device)]
            if output["maskmem_pos_enc"] is not None:
                output["maskmem_pos_enc"] = [part[: len(objects)] for part in output["maskmem_pos_enc"]]

    def _all(self) -> Iterator[dict]:
        for outputs in self.outputs.values():
            yield from outputs.values()

    def _compact(self, output: dict) -> dict:
        """The part that later frames read; memories as bfloat16, like the official predictor keeps them."""
        objects = len(output["obj_ptr"])
        return {
            "maskmem_features": output["maskmem_features"].to(self._device, torch.bfloat16),
            # One copy seen several times.
            "maskmem_pos_enc": [part[:1].expand(objects, -1, -1, -1) for part in output["maskmem_pos_enc"]],
            "obj_ptr": output["obj_ptr"],
        }


def _for_each(follow: Callable[[range], None], orders: Sequence[range], device: torch.device) -> None:
    """Follow each order of slices: on a CPU with several threads at the same time, else one after the other.

    The models' operations are small, and two of them side by side keep cores busier than one that is split.
    """
    orders = [order for order in orders if len(order)]
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


def _areas(masks: np.ndarray) -> np.ndarray:
    """Pixels (objects,) of boolean masks (objects, h, w)."""
    return np.array([np.count_nonzero(mask) for mask in masks])  # ten times as fast as along axes of the whole


def _touching(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Whether masks (objects, h, w) on neighbouring slices are 26-adjacent: boolean (objects,)."""
    touching = (before & after).any(axis=(1, 2))
    for i in np.flatnonzero(~touching):  # few: an object rarely leaves its place within one slice
        touching[i] = (cv2.dilate(before[i].view(np.uint8), np.ones((3, 3), np.uint8)) & after[i]).any()
    return touching
