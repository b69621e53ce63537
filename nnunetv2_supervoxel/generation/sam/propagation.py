"""Masks on one slice carried through the volume with SAM 2 (Ravi et al., 2024).

The model is driven through `SAM2Base.track_step`, with all objects of a keyframe in one batch. Each object gets what
the official `SAM2VideoPredictor` gives it when it is tracked alone, from a fresh state for each direction.
A frame, in SAM 2's words, is a slice here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from sam2.modeling.sam2_base import SAM2Base

from nnunetv2_supervoxel.generation.out_of_memory import free_memory, halve_until_it_fits, is_out_of_memory
from nnunetv2_supervoxel.generation.sam.batched_sam2 import objects_at_once, use_batched_modules
from nnunetv2_supervoxel.generation.sam.encoding import FrameReader, SliceEncoder, SliceFeatures
from nnunetv2_supervoxel.generation.sam.memory_bank import MemoryBank
from nnunetv2_supervoxel.generation.sam.slice_masks import areas, masks_of_logits, touching
from nnunetv2_supervoxel.generation.sam.tracks import Track
from nnunetv2_supervoxel.threads_and_heap import trim_heap

FRAMES_AT_ONCE = 2  # slices that the image encoder takes at once, and by how many it may run ahead of the objects

# What `track_step` gives for every object, and is read here.
_OF_OBJECTS = ("pred_masks_high_res", "obj_ptr", "object_score_logits")


class Propagator:
    """Carries seed masks through a volume.

    Args:
        sam2: the model; it decides the device. Some of its modules are replaced (see batched_sam2.py).
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
        self._model = use_batched_modules(sam2)
        self._encode = SliceEncoder(self._model)
        self._device = sam2.device
        self._objects_per_batch = objects_per_batch
        self._max_growth = np.inf if max_growth is None else max_growth
        if precision == "auto":
            precision = "bfloat16" if self._device.type == "cuda" else "float32"
        self._bfloat16 = precision == "bfloat16"

    def __call__(self, read_frame: FrameReader, frames: int, seeds: np.ndarray, keyframe: int) -> list[Track]:
        """Track objects from the keyframe to both ends.

        A track ends at the first slice whose mask is not 26-adjacent to the one on the slice before: nothing that
        follows could be connected with the seed. With `max_growth` it also ends at the first slice where the object
        covers more than it may.

        Args:
            read_frame: gives a slice. It is called once for the keyframe and for every other slice that some object
                reaches, or that is encoded together with one; on a CPU from two threads, one for each direction.
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
            masks = masks_of_logits(seeded["pred_masks"], seeds.shape[1:])
        for track, mask in zip(tracks, masks, strict=True):
            track[keyframe] = mask

        def follow(order: range) -> None:
            bank = MemoryBank(self._model, keyframe, seeded, state_device)
            # Both hold for one thread only, so they are entered in each.
            with torch.inference_mode(), self._autocast():
                self._follow(read_frame, order, frames, bank, masks, tracks)

        _follow_each(follow, [range(keyframe + 1, frames), range(keyframe - 1, -1, -1)], self._device)
        return tracks

    def _follow(
        self,
        read_frame: FrameReader,
        order: range,
        frames: int,
        bank: MemoryBank,
        before: np.ndarray,
        tracks: list[Track],
    ) -> None:
        """Track in one direction; `before` (objects, h, w) are the masks on the keyframe."""
        alive = list(range(len(tracks)))
        largest = self._max_growth * areas(before)
        # Out of memory, objects per batch are halved; with one object, slices are encoded one by one, too.
        at_once = min(FRAMES_AT_ONCE, len(tracks))
        for frame, features in self._encode.in_order(read_frame, order, at_once):
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
            masks = masks_of_logits(output["pred_masks"], before.shape[1:])
            going_on = np.flatnonzero(touching(before, masks) & (areas(masks) <= largest))
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

    def _seed(self, features: SliceFeatures, seeds: np.ndarray, keyframe: int, frames: int) -> dict[str, Any]:
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
        # The predictor doesn't encode the memory from the mask that it was given. It encodes what is left of that mask
        # at a quarter of the resolution, and calls it a mask "from points", which it binarises.
        size = (self._model.image_size, self._model.image_size)
        remaining = F.interpolate(output["pred_masks"], size=size, mode="bilinear", align_corners=False)
        self._remember(features, output, remaining, from_points=True)
        return output

    def _remember(
        self, features: SliceFeatures, output: dict[str, Any], masks: torch.Tensor, from_points: bool
    ) -> None:
        """Encode what later slices will look back at, and add it to the output of `track_step`.

        `track_step` itself is told to leave it out, so that it isn't done for objects that end on this slice.
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

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self._device.type, torch.bfloat16) if self._bfloat16 else nullcontext()


def _follow_each(follow: Callable[[range], None], orders: Sequence[range], device: torch.device) -> None:
    """Call `follow` with each order of slices: on a CPU with several threads at the same time, else one by one.

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
