"""The sizes of SAM and SAM 2.1 (official ones and others) as plain data, and models built from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import sam2
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from sam2.modeling.sam2_base import SAM2Base
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer


@dataclass(frozen=True)
class SamArchitecture:
    """Size of a SAM model (Kirillov et al., 2023); the defaults are what all official sizes share."""

    encoder_embed_dim: int
    encoder_depth: int
    encoder_num_heads: int
    encoder_global_attn_indexes: tuple[int, ...]
    image_size: int = 1024
    patch_size: int = 16
    window_size: int = 14
    prompt_embed_dim: int = 256
    decoder_mlp_dim: int = 2048
    iou_head_hidden_dim: int = 256


@dataclass(frozen=True)
class Sam2Architecture:
    """Size of a SAM 2.1 model (Ravi et al., 2024); the defaults are what all official sizes share."""

    trunk_embed_dim: int
    trunk_num_heads: int
    trunk_stages: tuple[int, int, int, int]
    trunk_global_att_blocks: tuple[int, ...]
    trunk_window_spec: tuple[int, int, int, int] = (8, 4, 14, 7)
    trunk_window_pos_embed_size: tuple[int, int] = (7, 7)
    image_size: int = 1024
    model_dim: int = 256
    memory_dim: int = 64
    memory_layers: int = 4
    memory_feedforward_dim: int = 2048
    rope_theta: float = 10000.0


SAM_ARCHITECTURES: dict[str, SamArchitecture] = {
    "vit_h": SamArchitecture(1280, 32, 16, (7, 15, 23, 31)),
    "vit_l": SamArchitecture(1024, 24, 16, (5, 11, 17, 23)),
    "vit_b": SamArchitecture(768, 12, 12, (2, 5, 8, 11)),
}

SAM2_ARCHITECTURES: dict[str, Sam2Architecture] = {
    "large": Sam2Architecture(144, 2, (2, 6, 36, 4), (23, 33, 43), (8, 4, 16, 8)),
    "base_plus": Sam2Architecture(112, 2, (2, 3, 16, 3), (12, 16, 20), trunk_window_pos_embed_size=(14, 14)),
    "small": Sam2Architecture(96, 1, (1, 2, 11, 2), (7, 10, 13)),
    "tiny": Sam2Architecture(96, 1, (1, 2, 7, 2), (5, 7, 9)),
}


def build_sam(architecture: SamArchitecture) -> Sam:
    """The `segment_anything` model of that size, with random weights, in evaluation mode."""
    a = architecture
    grid = a.image_size // a.patch_size
    model = Sam(
        image_encoder=ImageEncoderViT(
            img_size=a.image_size,
            patch_size=a.patch_size,
            embed_dim=a.encoder_embed_dim,
            depth=a.encoder_depth,
            num_heads=a.encoder_num_heads,
            mlp_ratio=4,
            out_chans=a.prompt_embed_dim,
            qkv_bias=True,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=a.window_size,
            global_attn_indexes=a.encoder_global_attn_indexes,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=a.prompt_embed_dim,
            image_embedding_size=(grid, grid),
            input_image_size=(a.image_size, a.image_size),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=a.prompt_embed_dim,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=a.prompt_embed_dim, num_heads=8, mlp_dim=a.decoder_mlp_dim
            ),
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=a.iou_head_hidden_dim,
        ),
    )
    return model.eval()


def build_sam2(architecture: Sam2Architecture, model_class: type[SAM2Base] = SAM2Base) -> SAM2Base:
    """The `sam2` model of that size, with random weights, in evaluation mode.

    Options other than sizes are those of `sam2.build_sam.build_sam2_video_predictor`: the installed package's own
    SAM 2.1 YAML, plus its "post-processing" overrides that change what is encoded into memory. Hole filling is not
    among them: it needs sam2's CUDA extension, which the PyPI build leaves out.

    Args:
        architecture: the sizes.
        model_class: `SAM2Base`, or a subclass such as `sam2.sam2_video_predictor.SAM2VideoPredictor`.
    """
    config = _sam2_config(architecture)
    config["_target_"] = f"{model_class.__module__}.{model_class.__qualname__}"
    return instantiate(config, _recursive_=True).eval()


def _sam2_config(a: Sam2Architecture) -> DictConfig:
    """The package's YAML for its smallest SAM 2.1 with the sizes replaced."""
    config = OmegaConf.load(Path(sam2.__file__).parent / "configs/sam2.1/sam2.1_hiera_t.yaml").model
    trunk, neck = config.image_encoder.trunk, config.image_encoder.neck
    trunk.embed_dim = a.trunk_embed_dim
    trunk.num_heads = a.trunk_num_heads
    trunk.stages = list(a.trunk_stages)
    trunk.global_att_blocks = list(a.trunk_global_att_blocks)
    trunk.window_spec = list(a.trunk_window_spec)
    trunk.window_pos_embed_bkg_spatial_size = list(a.trunk_window_pos_embed_size)
    neck.d_model = neck.position_encoding.num_pos_feats = a.model_dim
    neck.backbone_channel_list = [a.trunk_embed_dim * 2**stage for stage in (3, 2, 1, 0)]

    attention = config.memory_attention
    attention.d_model = attention.layer.d_model = a.model_dim
    attention.num_layers = a.memory_layers
    attention.layer.dim_feedforward = a.memory_feedforward_dim
    for part in (attention.layer.self_attention, attention.layer.cross_attention):
        part.embedding_dim = a.model_dim
        part.rope_theta = a.rope_theta
        part.feat_sizes = [a.image_size // 16, a.image_size // 16]
    attention.layer.cross_attention.kv_in_dim = a.memory_dim

    encoder = config.memory_encoder
    encoder.in_dim = encoder.fuser.layer.dim = encoder.mask_downsampler.embed_dim = a.model_dim
    encoder.out_dim = encoder.position_encoding.num_pos_feats = a.memory_dim

    config.image_size = a.image_size
    config.binarize_mask_from_pts_for_mem_enc = True
    config.sam_mask_decoder_extra_args = {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    }
    return config
