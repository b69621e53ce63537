"""The mask that is made is the one that the official model would choose."""

from __future__ import annotations

import torch
from sam2.modeling.sam2_base import NO_OBJ_SCORE, SAM2Base

from nnunetv2_supervoxel.generation.sam.batched_sam2 import BatchedSam2
from nnunetv2_supervoxel.generation.sam.encoding import SliceFeatures

OBJECTS = 11


def test_the_best_of_several_masks(official: SAM2Base, batched: BatchedSam2, features: SliceFeatures) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels, channels = official.sam_image_embedding_size, official.hidden_dim
    seen = 10 * torch.randn(OBJECTS, channels, 1, 1, generator=generator).expand(-1, -1, pixels, pixels)
    with torch.inference_mode():
        predicted = batched._decode(seen.flatten(2).transpose(1, 2), features)
        _, _, ious, logits, _, pointers, scores = official._forward_sam_heads(
            backbone_features=seen,
            high_res_features=[level.expand(OBJECTS, -1, -1, -1) for level in features.maps[:-1]],
            multimask_output=True,
        )
    assert len(ious.argmax(1).unique()) > 1, "one mask that always wins proves nothing"
    visible = (scores > 0).flatten()
    assert visible.any()
    assert not visible.all()
    assert (predicted.logits[~visible] == NO_OBJ_SCORE).all()
    for ours, theirs in ((predicted.logits, logits), (predicted.pointers, pointers), (predicted.scores, scores)):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
