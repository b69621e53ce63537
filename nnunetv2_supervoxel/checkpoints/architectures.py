"""The sizes of SAM and SAM 2.1 (official ones and others) as plain data, and models built from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from math import lcm
from pathlib import Path
from typing import Annotated, Any, ClassVar

import sam2
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, Field
from sam2.modeling.sam2_base import SAM2Base
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch.overrides import TorchFunctionMode

_DECODER_WIDTHS = 16  # both mask decoders halve the width and share it among eight heads
_MOST_BLOCKS = 128
_MOST_ROTATIONS = 2**25  # twice what "large" has at 2048 pixels; unlike weights, they take memory in every new model


_CHECKED = ConfigDict(extra="forbid", strict=True)  # where pydantic makes one from JSON

Size = Annotated[int, Field(ge=1, le=16384)]
Depth = Annotated[int, Field(ge=1, le=_MOST_BLOCKS)]
BlockIndexes = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=_MOST_BLOCKS)]


@dataclass(frozen=True)
class SamArchitecture:
    """Size of a SAM model (Kirillov et al., 2023); the defaults are what all official sizes share.

    Raises:
        ValueError: no such model can be built.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CHECKED

    encoder_embed_dim: Size
    encoder_depth: Depth
    encoder_num_heads: Size
    encoder_global_attn_indexes: BlockIndexes
    image_size: Size = 1024
    patch_size: Size = 16
    window_size: Size = 14
    prompt_embed_dim: Size = 256
    decoder_mlp_dim: Size = 2048
    iou_head_hidden_dim: Size = 256

    def __post_init__(self) -> None:
        _check_multiple(self, "encoder_embed_dim", self.encoder_num_heads)
        _check_multiple(self, "image_size", self.patch_size)
        _check_multiple(self, "prompt_embed_dim", _DECODER_WIDTHS)
        _check_indexes("encoder_global_attn_indexes", self.encoder_global_attn_indexes, self.encoder_depth)


@dataclass(frozen=True)
class Sam2Architecture:
    """Size of a SAM 2.1 model (Ravi et al., 2024); the defaults are what all official sizes share.

    Weights fit every `image_size`, so fine-tunes of another one look the same.

    Raises:
        ValueError: no such model can be built.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CHECKED

    trunk_embed_dim: Size
    trunk_num_heads: Size
    trunk_stages: tuple[Depth, Depth, Depth, Depth]
    trunk_global_att_blocks: BlockIndexes
    trunk_window_spec: tuple[Size, Size, Size, Size] = (8, 4, 14, 7)
    trunk_window_pos_embed_size: tuple[Size, Size] = (7, 7)
    image_size: Size = 1024
    model_dim: Size = 256
    memory_dim: Size = 64
    memory_layers: Depth = 4
    memory_feedforward_dim: Size = 2048
    rope_theta: Annotated[float, Field(ge=1, le=1e9)] = 10000.0

    def __post_init__(self) -> None:
        _check_multiple(self, "trunk_embed_dim", self.trunk_num_heads)
        _check_multiple(self, "model_dim", _DECODER_WIDTHS)
        _check_multiple(self, "model_dim", self.memory_dim)
        _check_multiple(self, "memory_dim", 4)  # sines and cosines of x and y
        _check_indexes("trunk_global_att_blocks", self.trunk_global_att_blocks, sum(self.trunk_stages))
        self._check_halving()
        if sum(self.trunk_stages) > _MOST_BLOCKS:
            raise ValueError(f"trunk_stages has {sum(self.trunk_stages)} blocks, but {_MOST_BLOCKS} are the most")
        self._check_image_size()

    def _check_halving(self) -> None:
        """Later stages begin with a block that halves the map, in windows of the stage before."""
        if any(size % 2 for size in self.trunk_window_spec[:3]):
            raise ValueError("trunk_window_spec has odd windows before the last stage, which can't be halved")
        if set(accumulate(self.trunk_stages[:3])) & set(self.trunk_global_att_blocks):
            raise ValueError("trunk_global_att_blocks has a stage's first block, which needs windows")

    def _check_image_size(self) -> None:
        """The coarsest map has a stride of 32, and the first stage's windows tile its map of stride 4."""
        step = lcm(32, 4 * self.trunk_window_spec[0])
        if self.image_size % step or not 64 <= self.image_size <= 2048:
            raise ValueError(f"image_size is {self.image_size}, but must be a multiple of {step} from 64 to 2048")
        numbers = (self.image_size // 16) ** 2 * self.model_dim * self.memory_layers
        if numbers > _MOST_ROTATIONS:
            raise ValueError(f"image_size, model_dim and memory_layers make {numbers} rotary encodings, too many")


def _check_multiple(architecture: SamArchitecture | Sam2Architecture, name: str, divisor: int) -> None:
    value = getattr(architecture, name)
    if value % divisor:
        raise ValueError(f"{name} is {value}, but must be a multiple of {divisor}")


def _check_indexes(name: str, indexes: tuple[int, ...], depth: int) -> None:
    if any(index >= depth for index in indexes):
        raise ValueError(f"{name} has {max(indexes)}, but there are {depth} blocks")


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


class WithoutMemory(TorchFunctionMode):
    """In this context models are built of parameters that have a shape, but no memory and no values (on "meta").

    `torch.device("meta")` would do the same to tensors with which the models compute while they are built.
    """

    _makers = (torch.empty, torch.zeros, torch.ones, torch.randn)

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        return func(*args, **kwargs | {"device": "meta"}) if func in self._makers else func(*args, **kwargs)


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
