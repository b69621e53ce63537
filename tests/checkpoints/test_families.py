"""Weights of models that look like SAM and SAM 2 are refused by their name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.checkpoints.families import family_of
from nnunetv2_supervoxel.checkpoints.loading import load_sam, load_sam2

SAM = ("image_encoder.patch_embed.proj.weight", "prompt_encoder.no_mask_embed.weight")
SAM2 = (
    "image_encoder.trunk.patch_embed.proj.weight",
    "image_encoder.trunk.pos_embed_window",
    "obj_ptr_tpos_proj.weight",
)
OTHERS = [
    ("SAM 2.0", SAM2[:2]),
    ("EfficientTAM", (SAM2[0], "image_encoder.trunk.pos_embed", "image_encoder.neck.convs.0.conv.conv_1x1.weight")),
    ("EdgeTAM", ("image_encoder.trunk.body.stem.0.conv.weight", "spatial_perceiver.latents", SAM2[2])),
    (
        "SAM 3",
        ("detector.backbone.vision_backbone.trunk.patch_embed.proj.weight", "detector.geometry_encoder.norm.bias"),
    ),
    ("SAM 3", ("tracker.maskmem_tpos_enc", "tracker.sam_mask_decoder.iou_token.weight")),
    ("SAM 3", ("tracker_model.vision_encoder.backbone.layer_norm.weight",)),
    ("SAM-HQ", (*SAM, "mask_decoder.hf_token.weight")),
    ("SAM-HQ", (*SAM2, "sam_mask_decoder.hf_mlp.layers.0.weight")),
    ("MobileSAM", ("image_encoder.patch_embed.seq.0.c.weight", SAM[1])),
    ("LoRA", (*SAM, "image_encoder.blocks.0.attn.qkv.lora_A.weight")),
    ("LoRA", (*SAM, "image_encoder.blocks.0.attn.qkv.w_a_linear_q.weight")),
    ("Hugging Face transformers'", ("shared_image_embedding.positional_embedding", "vision_encoder.pos_embed")),
    ("neither SAM nor SAM 2", ("conv1.weight", "fc.bias")),
    ("neither SAM nor SAM 2", ("odd\nname",)),
]


def test_sam_and_sam2_are_ours() -> None:
    assert family_of(SAM) == ("sam", "SAM")
    assert family_of(SAM2) == ("sam2", "SAM 2.1")


@pytest.mark.parametrize(("title", "names"), OTHERS)
def test_others_are_named_in_one_sentence(tmp_path: Path, title: str, names: tuple[str, ...]) -> None:
    torch.save({"model": {name: torch.zeros(1) for name in names}}, tmp_path / "x.pt")
    for load, wanted in ((load_sam, "SAM"), (load_sam2, "SAM 2.1")):
        with pytest.raises(
            UserError, match=rf"x\.pt holds {title}.* weights, but {wanted} weights are needed"
        ) as error:
            load(str(tmp_path / "x.pt"))
        assert "\n" not in str(error.value)
        assert repr(names[0]) in str(error.value)
