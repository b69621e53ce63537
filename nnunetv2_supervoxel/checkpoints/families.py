"""Which model weights belong to, by the names of the tensors."""

from __future__ import annotations

import re
from collections.abc import Collection

from nnunetv2_supervoxel.checkpoints.registry import Family

TITLES: dict[Family, str] = {"sam": "SAM", "sam2": "SAM 2.1"}

_RELATIVES = {
    "SAM 3": r"(detector|sam3_model)\.backbone\.|tracker\.(model|sam_|maskmem_)|(detector|tracker)_model\.",
    "SAM-HQ": r"(sam_)?mask_decoder\.hf_",
    "MobileSAM (TinyViT)": r"image_encoder\.patch_embed\.seq\.",
    "EdgeTAM": r"spatial_perceiver\.|image_encoder\.trunk\.body\.",
    "LoRA (low-rank adapter)": r".*(lora_|\.w_[ab]_linear)",
    "Hugging Face transformers'": r"vision_encoder\.|shared_image_embedding\.",
}
"""Models that look like SAM or SAM 2 and aren't, each with names of tensors that only it has."""


def family_of(names: Collection[str]) -> tuple[Family | None, str]:
    """The family of weights whose tensors have these names, and its title in a message; None: none of ours."""
    for title, pattern in _RELATIVES.items():
        if any(re.match(pattern, name) for name in names):
            return None, title
    if "image_encoder.trunk.patch_embed.proj.weight" in names:
        return _kind_of_sam2(names)
    if "image_encoder.patch_embed.proj.weight" in names and "prompt_encoder.no_mask_embed.weight" in names:
        return "sam", TITLES["sam"]
    return None, "neither SAM nor SAM 2"


def _kind_of_sam2(names: Collection[str]) -> tuple[Family | None, str]:
    if "image_encoder.trunk.pos_embed_window" not in names:  # the plain ViT in place of Hiera
        return None, "EfficientTAM"
    if "obj_ptr_tpos_proj.weight" not in names:
        return None, "SAM 2.0"
    return "sam2", TITLES["sam2"]
