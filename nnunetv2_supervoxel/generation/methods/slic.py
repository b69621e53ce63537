"""The method "slic": SLIC's segments of the foreground (Achanta et al., 2012), in 3D, without any model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from skimage.segmentation import slic

from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.generation.methods.base import Image, Method
from nnunetv2_supervoxel.masks.foreground import foreground
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet


class SlicMethod(Method):
    """scikit-image's SLIC, on as many centres as there shall be supervoxels, which don't overlap.

    The voxels' real size counts for distances. Background is left out. Nothing is random.
    """

    packages = ("scikit-image",)
    unread = frozenset({"sam1_checkpoint", "sam2_checkpoint", "sam2_image_size"})

    def __init__(self, config: GenerationConfig, device: torch.device) -> None:
        self.config = config

    @property
    def provenance(self) -> dict[str, Any]:
        """Nothing: there is no model."""
        return {}

    def __call__(self, image: Image) -> SupervoxelSet:
        """Make the supervoxels of one image: its segments, in the order of SLIC's labels."""
        windowed = image.windowed()
        labels = slic(
            windowed[0] if image.is_grey else windowed,
            n_segments=self.config.masks_per_image,
            compactness=self.config.slic_compactness,
            spacing=np.divide(image.spacing, np.prod(image.spacing) ** (1 / 3)),  # compactness then means the same
            mask=foreground(windowed.mean(0)),
            start_label=1,
            channel_axis=None if image.is_grey else 0,
            convert2lab=False,
        )
        made = replace(SupervoxelSet.of_labels(labels), spacing=image.spacing)
        most = made.supervoxels[: self.config.masks_per_image]
        return replace(made, supervoxels=most, notes=() if most else ("SLIC found no segment",))
