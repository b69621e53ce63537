"""Objects on one slice, as proposed by SAM's automatic mask generator (Kirillov et al., 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import segment_anything.automatic_mask_generator as official
import torch
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torchvision.ops.boxes import batched_nms

from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.generation.intensity import to_uint8_rgb
from nnunetv2_supervoxel.generation.out_of_memory import halve_until_it_fits
from nnunetv2_supervoxel.generation.sam.attention_to_few import with_fast_attention


@dataclass(frozen=True, eq=False)
class Proposal:
    """A 2D mask on a keyframe slice.

    Attributes:
        mask: boolean (h, w).
        predicted_iou: SAM's estimate of the mask's quality.
        stability_score: SAM's stability score.
    """

    mask: np.ndarray
    predicted_iou: float
    stability_score: float


_GENERATOR_SETTINGS = {
    "points_per_side",
    "points_per_batch",
    "pred_iou_thresh",
    "stability_score_thresh",
    "stability_score_offset",
    "box_nms_thresh",
    "crop_n_layers",
    "crop_nms_thresh",
    "crop_n_points_downscale_factor",
    "min_mask_region_area",
}


def generator_settings(config: GenerationConfig) -> dict[str, Any]:
    """The settings that SAM's and SAM 2's mask generators have by the same names."""
    return config.model_dump(include=_GENERATOR_SETTINGS)


def with_columns(data: Any) -> Any:
    """A crop's masks, of which both generators forget that boxes have four columns if there are none."""
    if len(data["rles"]) == 0:
        data["crop_boxes"] = torch.zeros((0, 4), dtype=torch.long)
    return data


def proposals_of(records: Sequence[dict[str, Any]], config: GenerationConfig) -> list[Proposal]:
    """What a mask generator returned, best predicted IoU first, without masks that the config calls too small or large.

    Args:
        records: one per mask, as SAM's and SAM 2's generators return them.
        config: least and largest area.
    """
    proposals = []
    for record in records:
        mask = record["segmentation"].astype(bool)
        if config.min_proposal_area <= np.count_nonzero(mask) <= config.max_proposal_share * mask.size:
            proposals.append(Proposal(mask, record["predicted_iou"], record["stability_score"]))
    return sorted(proposals, key=lambda proposal: -proposal.predicted_iou)


class Proposer:
    """Runs the automatic mask generator with the config's thresholds.

    Args:
        sam: the model; it decides the device. An attention in its decoder is replaced (see attention_to_few.py).
        config: thresholds and grid.

    Attributes:
        points_per_batch: prompts at once; halved when memory runs out.
    """

    def __init__(self, sam: Sam, config: GenerationConfig) -> None:
        self._config = config
        self.points_per_batch = config.points_per_batch
        with_fast_attention(sam.mask_decoder.transformer)
        self._generator = _MaskGenerator(sam, **generator_settings(config))
        if sam.device.type == "mps":
            self._generator.predictor.transform = _Float32Coordinates(sam.image_encoder.img_size)

    def __call__(self, image: np.ndarray) -> list[Proposal]:
        """Propose objects on a windowed slice, best predicted IoU first.

        Args:
            image: float32 (3, h, w) in [0, 1].
        """
        pixels = to_uint8_rgb(image)
        records, self.points_per_batch = halve_until_it_fits(
            lambda points: self._generate(pixels, points), self.points_per_batch
        )
        return proposals_of(records, self._config)

    def _generate(self, image: np.ndarray, points_per_batch: int) -> list[dict[str, Any]]:
        self._generator.points_per_batch = points_per_batch
        with torch.inference_mode(), _categories_on_the_boxes_device():
            return self._generator.generate(image)


class _MaskGenerator(SamAutomaticMaskGenerator):
    """The official generator: it gives the same masks, and takes less time.

    It enlarges no mask that the threshold of predicted IoU drops. With crops of which none has a mask above the
    thresholds, it returns nothing, where the official one fails.
    """

    def _process_batch(
        self, points: np.ndarray, im_size: tuple[int, ...], crop_box: list[int], orig_size: tuple[int, ...]
    ) -> official.MaskData:
        masks, ious = self._decode(points, im_size)
        keep = ious > self.pred_iou_thresh if self.pred_iou_thresh > 0 else torch.ones_like(ious, dtype=torch.bool)
        of_points = torch.nonzero(keep)[:, 0].cpu().numpy()

        def predicted(*_: object, **__: object) -> tuple[torch.Tensor, torch.Tensor, None]:
            """One mask for each of the points that are left, among which a point is once for each of its masks kept."""
            predictor = self.predictor
            enlarged = predictor.model.postprocess_masks(
                masks[keep][:, None], predictor.input_size, predictor.original_size
            )
            return enlarged, ious[keep][:, None], None

        with mock.patch.object(self.predictor, "predict_torch", predicted):
            return super()._process_batch(points[of_points], im_size, crop_box, orig_size)

    def _decode(self, points: np.ndarray, im_size: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """Masks at each point (x, y), not enlarged yet: logits (points, 3, h, w) and predicted IoUs (points, 3)."""
        predictor, model = self.predictor, self.predictor.model
        coordinates = torch.as_tensor(predictor.transform.apply_coords(points, im_size), device=predictor.device)
        labels = torch.ones((len(points), 1), dtype=torch.int, device=predictor.device)
        sparse, dense = model.prompt_encoder(points=(coordinates[:, None], labels), boxes=None, masks=None)
        return model.mask_decoder(
            image_embeddings=predictor.features,
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )

    def _process_crop(self, *arguments: object) -> official.MaskData:
        return with_columns(super()._process_crop(*arguments))


@contextmanager
def _categories_on_the_boxes_device() -> Iterator[None]:
    """Let non-maximum suppression work on CUDA for any number of boxes.

    segment-anything 1.0 (the one on PyPI) builds the categories on the CPU. With more than some 5,000 boxes on CUDA,
    torchvision takes another path, for which they must be on the boxes' device. Meta's repository has it mended.
    """

    def on_one_device(
        boxes: torch.Tensor, scores: torch.Tensor, categories: torch.Tensor, iou_threshold: float
    ) -> torch.Tensor:
        return batched_nms(boxes, scores.to(boxes.device), categories.to(boxes.device), iou_threshold)

    with mock.patch.object(official, "batched_nms", on_one_device):
        yield


class _Float32Coordinates(ResizeLongestSide):
    """Apple's MPS has no float64, in which segment-anything computes the prompts' coordinates."""

    def apply_coords(self, coords: np.ndarray, original_size: tuple[int, ...]) -> np.ndarray:
        return super().apply_coords(coords, original_size).astype(np.float32)
