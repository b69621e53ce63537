"""SAM 2 at the image size for which it was fine-tuned, which its weights don't tell."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sam2.build_sam import build_sam2_video_predictor
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_video_predictor import SAM2VideoPredictor

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.checkpoints.loading import load_sam, load_sam2


@torch.no_grad()
def tracked(model: SAM2Base) -> tuple[list[torch.Tensor], torch.Tensor]:
    """A slice's feature maps, and mask logits of a square that is tracked from there to a second slice like it."""
    random = torch.Generator().manual_seed(0)
    encoded = model.forward_image(torch.rand(1, 3, model.image_size, model.image_size, generator=random))
    square = torch.zeros(1, 1, model.image_size, model.image_size)
    square[..., : model.image_size // 2, : model.image_size // 2] = 1
    outputs: dict[str, dict] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    _, features, positions, sizes = model._prepare_backbone_features(encoded)
    for index, mask in enumerate((square, None)):
        step = model.track_step(index, index == 0, features, positions, sizes, None, mask, outputs, 2)
        outputs["cond_frame_outputs"][index] = step
    return encoded["backbone_fpn"], step["pred_masks"]


def test_medsam2_computes_as_it_is_configured(sam2_file: Path) -> None:
    assert len(torch.load(sam2_file, weights_only=True)["model"]) == 471  # as MedSAM2's files
    loaded = load_sam2(str(sam2_file), model_class=SAM2VideoPredictor, image_size=512)
    attention = "++model.memory_attention.layer"
    theirs = build_sam2_video_predictor(
        "configs/sam2.1/sam2.1_hiera_t.yaml",
        str(sam2_file),
        device="cpu",
        hydra_overrides_extra=[
            "++model.image_size=512",
            f"{attention}.self_attention.feat_sizes=[32,32]",
            f"{attention}.cross_attention.feat_sizes=[32,32]",
        ],
    )
    assert loaded.image_size == loaded.model.image_size == 512
    for layer, their_layer in zip(loaded.model.memory_attention.layers, theirs.memory_attention.layers, strict=True):
        assert torch.equal(layer.self_attn.freqs_cis, their_layer.self_attn.freqs_cis)
        assert torch.equal(layer.cross_attn_image.freqs_cis, their_layer.cross_attn_image.freqs_cis)
        assert len(layer.self_attn.freqs_cis) == 32 * 32
    (maps, mask), (their_maps, their_mask) = tracked(loaded.model), tracked(theirs)
    assert [tuple(level.shape[2:]) for level in maps] == [(128, 128), (64, 64), (32, 32)]
    assert all(torch.equal(level, their_level) for level, their_level in zip(maps, their_maps, strict=True))
    assert torch.equal(mask, their_mask)


@pytest.mark.parametrize("size", [64, 96, 160, 320])
def test_multiples_of_32_work_from_image_to_tracked_mask(size: int) -> None:
    loaded = load_sam2("bundled", image_size=size)
    maps, mask = tracked(loaded.model)
    assert loaded.image_size == size
    assert [level.shape[-1] for level in maps] == [size // 4, size // 8, size // 16]
    assert mask.shape == (1, 1, size // 4, size // 4)
    assert torch.isfinite(mask).all()


@pytest.mark.parametrize("size", [0, -512, 32, 500, 513, 1040, 2080, 10**12])
def test_other_sizes_are_refused_in_one_sentence(size: int) -> None:
    with pytest.raises(UserError, match=rf"sam2_image_size .* is {size}, but must be a multiple of 32 from 64 to 2048"):
        load_sam2("bundled", image_size=size)


def test_without_a_size_the_file_decides(sam2_file: Path) -> None:
    assert load_sam2("bundled").image_size == load_sam2("bundled").model.image_size == 192
    assert load_sam2(str(sam2_file)).image_size == 1024
    assert load_sam("bundled").image_size == 256
