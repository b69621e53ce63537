"""The bundled SAM 2, as it is and with our parts, and what one of its slices looks like."""

from __future__ import annotations

import copy

import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base

from nnunetv2_supervoxel.checkpoints.loading import load_sam2
from nnunetv2_supervoxel.generation.sam.batched_sam2 import BatchedSam2
from nnunetv2_supervoxel.generation.sam.encoding import SliceFeatures


@pytest.fixture(scope="session")
def official() -> SAM2Base:
    return load_sam2("bundled").model


@pytest.fixture(scope="session")
def batched(official: SAM2Base) -> BatchedSam2:
    return BatchedSam2(copy.deepcopy(official))


@pytest.fixture(scope="session")
def features(official: SAM2Base) -> SliceFeatures:
    """Random feature maps of the right sizes."""
    generator = torch.Generator().manual_seed(0)
    pixels, channels = official.sam_image_embedding_size, official.hidden_dim
    shapes = [(channels // shrink, pixels * scale, pixels * scale) for shrink, scale in ((8, 4), (4, 2), (1, 1))]
    maps = tuple(torch.randn(1, *shape, generator=generator) for shape in shapes)
    return SliceFeatures(maps, torch.randn(maps[-1].shape, generator=generator))
