"""What SAM 2 remembers of the slices that it has been on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from sam2.modeling.sam2_base import SAM2Base


class MemoryBank:
    """What the model may look back at in one direction: the keyframe, the last memories, the last object pointers.

    Anything older is forgotten, so the bank doesn't grow with the volume.

    Args:
        model: its sizes say how far it looks back.
        keyframe: index of the conditioning frame.
        seeded: that frame's output, with its memory.
        device: where memories are stored.

    Attributes:
        outputs: what `SAM2Base.track_step` takes as `output_dict`.
    """

    def __init__(self, model: SAM2Base, keyframe: int, seeded: dict[str, Any], device: torch.device) -> None:
        self._memories = model.num_maskmem - 1
        self._pointers = model.max_obj_ptrs_in_encoder - 1
        self._device = device
        self.outputs: dict[str, dict[int, dict[str, Any]]] = {
            "cond_frame_outputs": {keyframe: self._compact(seeded)},
            "non_cond_frame_outputs": {},
        }

    def add(self, frame: int, output: dict[str, Any], step: int) -> None:
        """Remember a frame's output, and forget what now lies too far behind.

        Args:
            frame: index of the frame.
            output: of `track_step`, with its memory, for all objects that are still in the bank.
            step: the direction, 1 or -1.
        """
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

    def _all(self) -> Iterator[dict[str, Any]]:
        for outputs in self.outputs.values():
            yield from outputs.values()

    def _compact(self, output: dict[str, Any]) -> dict[str, Any]:
        """The part that later frames read. Memories are stored as bfloat16, as the official predictor stores them."""
        objects = len(output["obj_ptr"])
        return {
            "maskmem_features": output["maskmem_features"].to(self._device, torch.bfloat16),
            # One copy seen several times.
            "maskmem_pos_enc": [part[:1].expand(objects, -1, -1, -1) for part in output["maskmem_pos_enc"]],
            "obj_ptr": output["obj_ptr"],
        }
