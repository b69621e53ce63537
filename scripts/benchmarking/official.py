"""Propagation as people run it with the official `SAM2VideoPredictor`, and models of the official sizes."""

from __future__ import annotations

from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_video_predictor import SAM2VideoPredictor

from nnunetv2_supervoxel.checkpoints.architectures import SAM2_ARCHITECTURES, build_sam2
from nnunetv2_supervoxel.checkpoints.loading import load_sam2
from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.generation.sam.encoding import IMAGENET_MEAN, IMAGENET_STD


def load_or_make_sam2(checkpoint: str, device: torch.device | str, model_class: type[SAM2Base] = SAM2Base) -> SAM2Base:
    """SAM 2.1 by its name or path. If an official size has no file here, it gets random weights, and a line reports it.

    Random weights take the same time.
    """
    try:
        return load_sam2(checkpoint, device, model_class=model_class).model
    except UserError:
        if checkpoint not in SAM2_ARCHITECTURES:
            raise
        print(f"There is no file of '{checkpoint}': using random weights, which take the same time.", flush=True)
        model = build_sam2(SAM2_ARCHITECTURES[checkpoint], model_class)
        return model.requires_grad_(False).to(device)


def resized(volume: np.ndarray, size: int) -> torch.Tensor:
    """All slices as the predictor's loader gives them: float32 (z, 3, size, size), normalised."""
    frames = torch.empty(len(volume), 3, size, size)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    for frame, image in zip(frames, volume, strict=True):
        grey = torch.from_numpy(np.repeat(image[None], 3, 0))[None]
        frame[:] = (F.interpolate(grey, (size, size), mode="bilinear", antialias=True)[0] - mean) / std
    return frames


def track_together(
    predictor: SAM2VideoPredictor, frames: torch.Tensor, seeds: np.ndarray, keyframe: int, result: np.ndarray
) -> None:
    """Track all objects from the keyframe to the last frame, in a state of their own. Masks go into `result`."""
    loaded = (frames.to(predictor.device), *seeds.shape[1:])
    with mock.patch("sam2.sam2_video_predictor.load_video_frames", return_value=loaded):
        state = predictor.init_state("replaced by the frames above")
    for number, seed in enumerate(seeds):
        predictor.add_new_mask(state, keyframe, number, seed)
    for frame, _, logits in predictor.propagate_in_video(state, keyframe):
        result[:, frame] = (logits[:, 0] > 0).cpu().numpy()
