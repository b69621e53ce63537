"""Objects on one slice, as proposed by SAM 2's own automatic mask generator (Ravi et al., 2024)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_image_predictor import SAM2ImagePredictor
from sam2.utils.amg import MaskData

from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.generation.out_of_memory import halve_until_it_fits
from nnunetv2_supervoxel.generation.sam.encoding import SliceEncoder, SliceFeatures, in_precision
from nnunetv2_supervoxel.generation.sam.proposals import Proposal, generator_settings, proposals_of, with_columns


class Sam2Proposer:
    """Runs SAM 2's automatic mask generator with the config's thresholds.

    Args:
        sam2: the model; it decides the device.
        config: thresholds and grid.
        precision: "float32" or "bfloat16".

    Attributes:
        points_per_batch: prompts at once; halved when memory runs out.
        features: the last slice, encoded as propagation encodes it.
    """

    features: SliceFeatures

    def __init__(self, sam2: SAM2Base, config: GenerationConfig, precision: str) -> None:
        self._config, self._precision, self._device = config, precision, sam2.device
        self.points_per_batch = config.points_per_batch
        self._generator = _MaskGenerator(sam2, **generator_settings(config))
        self._predictor = self._generator.predictor = _Predictor(sam2)

    def __call__(self, image: np.ndarray) -> list[Proposal]:
        """Propose objects on a windowed slice, best predicted IoU first.

        Args:
            image: float32 (3, h, w) in [0, 1].
        """
        records, self.points_per_batch = halve_until_it_fits(
            lambda points: self._generate(image, points), self.points_per_batch
        )
        self.features = self._predictor.whole
        return proposals_of(records, self._config)

    def _generate(self, image: np.ndarray, points_per_batch: int) -> list[dict[str, Any]]:
        self._generator.points_per_batch = points_per_batch
        with torch.inference_mode(), in_precision(self._precision, self._device):
            self._predictor.start(image)
            return self._generator.generate(np.moveaxis(image, 0, -1))


class _Predictor(SAM2ImagePredictor):
    """The official predictor, with slices encoded as propagation encodes them; `whole` is the slice as a whole."""

    whole: SliceFeatures

    def __init__(self, sam2: SAM2Base) -> None:
        super().__init__(sam2)
        self._encode = SliceEncoder(sam2)

    def start(self, image: np.ndarray) -> None:
        """Encode a windowed slice (3, h, w)."""
        self.whole, self._size = self._encode([image])[0], image.shape[1:]

    def set_image(self, image: np.ndarray) -> None:
        """Prepare for prompts on a crop (h, w, 3) of the slice."""
        self.reset_predictor()
        is_whole = image.shape[:2] == self._size
        features = self.whole if is_whole else self._encode([np.ascontiguousarray(np.moveaxis(image, -1, 0))])[0]
        *fine, coarse = features.maps
        if self.model.directly_add_no_mem_embed:
            coarse = coarse + self.model.no_mem_embed.reshape(1, -1, 1, 1)
        self._features, self._orig_hw = {"image_embed": coarse, "high_res_feats": fine}, [image.shape[:2]]
        self._is_image_set = True


class _MaskGenerator(SAM2AutomaticMaskGenerator):
    """The official generator, which fails on crops of which none has a mask above the thresholds.

    Small regions are removed as SAM's generator does it. SAM 2's own leaves them, without its CUDA extension.
    """

    def _generate_masks(self, image: np.ndarray) -> MaskData:
        data = super()._generate_masks(image)
        if self.min_mask_region_area == 0:
            return data
        overlap = max(self.box_nms_thresh, self.crop_nms_thresh)
        return self.postprocess_small_regions(data, self.min_mask_region_area, overlap)

    def _process_crop(self, *arguments: object) -> MaskData:
        return with_columns(super()._process_crop(*arguments))
