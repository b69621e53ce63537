"""Models that a file describes itself: those that can't be are refused in one sentence, and take no memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.checkpoints.architectures import (
    SAM2_ARCHITECTURES,
    SAM_ARCHITECTURES,
    Sam2Architecture,
    SamArchitecture,
    WithoutMemory,
    build_sam,
    build_sam2,
)
from nnunetv2_supervoxel.checkpoints.loading import load_sam, load_sam2
from nnunetv2_supervoxel.checkpoints.registry import find_checkpoint
from nnunetv2_supervoxel.checkpoints.state_dicts import read_state_dict

SAM_CHANGES: list[dict[str, Any]] = [
    {"patch_size": 0},
    {"patch_size": -8},
    {"patch_size": 7},
    {"patch_size": True},
    {"image_size": 10**9},
    {"image_size": "big"},
    {"image_size": 256.5},
    {"image_size": None},
    {"image_size": float("nan")},
    {"image_size": [256, 256]},
    {"encoder_embed_dim": float("inf")},
    {"encoder_embed_dim": 10**400},
    {"encoder_num_heads": 7},
    {"encoder_num_heads": 0},
    {"encoder_depth": 0},
    {"encoder_depth": 10**4},
    {"encoder_depth": {"a": 1}},
    {"encoder_global_attn_indexes": 2},
    {"encoder_global_attn_indexes": [2, 6]},
    {"encoder_global_attn_indexes": [-1]},
    {"encoder_global_attn_indexes": [[2]]},
    {"encoder_global_attn_indexes": [0] * 10**5},
    {"window_size": 0},
    {"prompt_embed_dim": 100},
    {"decoder_mlp_dim": 0},
    {"unknown": 1},
    {"odd\nname": 1},
]
SAM2_CHANGES: list[dict[str, Any]] = [
    {"trunk_embed_dim": 33, "trunk_num_heads": 2},
    {"trunk_num_heads": 0},
    {"trunk_num_heads": float("nan")},
    {"trunk_stages": [1, 2, 5]},
    {"trunk_stages": [1, 2, 5, 1, 1]},
    {"trunk_stages": [1, 2, 0, 6]},
    {"trunk_stages": [1, 2, 10**4, 1]},
    {"trunk_stages": 9},
    {"trunk_stages": "1251"},
    {"trunk_global_att_blocks": [9]},
    {"trunk_global_att_blocks": [3]},
    {"trunk_window_spec": [0, 4, 8, 4]},
    {"trunk_window_spec": [8, 3, 8, 4]},
    {"trunk_window_spec": [10, 4, 8, 4]},
    {"trunk_window_pos_embed_size": [7]},
    {"trunk_window_pos_embed_size": [0, 7]},
    {"image_size": 200},
    {"image_size": 0},
    {"image_size": 4096},
    {"model_dim": 129},
    {"model_dim": -128},
    {"memory_dim": 48},
    {"memory_dim": 256},
    {"memory_dim": 2},
    {"memory_layers": 10**6},
    {"memory_layers": 128, "model_dim": 16384},
    {"trunk_stages": [1, 2, 128, 1]},
    {"rope_theta": 0},
    {"rope_theta": float("nan")},
    {"rope_theta": float("inf")},
    {"rope_theta": "30"},
]
LARGER: list[tuple[str, dict[str, Any]]] = [  # these could be built, of up to 10^13 parameters, but not of this file
    ("sam", {"encoder_embed_dim": 16000, "encoder_depth": 128}),
    ("sam", {"decoder_mlp_dim": 16384}),
    ("sam", {"image_size": 16384}),
    ("sam", {"patch_size": 16}),
    ("sam", {"window_size": 16384}),
    ("sam2", {"trunk_embed_dim": 16384, "trunk_stages": [1, 2, 124, 1]}),
    ("sam2", {"trunk_stages": [1, 2, 5, 120]}),
    ("sam2", {"trunk_window_pos_embed_size": [16384, 16384]}),
    ("sam2", {"model_dim": 16384, "memory_dim": 16384}),
    ("sam2", {"memory_layers": 128}),
    ("sam2", {"memory_feedforward_dim": 16384}),
]


def load_changed(family: str, change: dict[str, Any] | str | None, folder: Path) -> None:
    """Load the bundled checkpoint with something else in its metadata: a change, other text, or nothing."""
    state, metadata = read_state_dict(find_checkpoint("sam" if family == "sam" else "sam2", "bundled"))
    described = metadata.pop("architecture")
    if change is not None:
        metadata["architecture"] = change if isinstance(change, str) else json.dumps(json.loads(described) | change)
    safetensors.torch.save_file(state, folder / "x.safetensors", metadata)
    (load_sam if family == "sam" else load_sam2)(str(folder / "x.safetensors"))


@pytest.mark.parametrize("change", [*SAM_CHANGES, "", "{", "[]", "null", "{}", "[" * 10**5, None])
def test_impossible_sams_are_refused(tmp_path: Path, change: dict[str, Any] | str | None) -> None:
    with pytest.raises(UserError, match=r"x\.safetensors doesn't describe its SAM architecture \(.+\)\.$") as error:
        load_changed("sam", change, tmp_path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("change", SAM2_CHANGES)
def test_impossible_sam2s_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(
        UserError, match=r"x\.safetensors doesn't describe its SAM 2\.1 architecture \(.+\)\.$"
    ) as error:
        load_changed("sam2", change, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("family", "change"), LARGER)
def test_models_that_the_file_cant_fill_take_no_memory(tmp_path: Path, family: str, change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"tensors are missing, unknown or of another shape") as error:
        load_changed(family, change, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"window_size": 0}, "window_size: Input should be greater than or equal to 1"),
        ({"image_size": "big"}, "image_size: Input should be a valid integer"),
        ({"encoder_num_heads": 7}, "encoder_embed_dim is 160, but must be a multiple of 7"),
        ({"unknown": 1}, "unknown: Unexpected keyword argument"),
    ],
)
def test_the_reason_names_the_field(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        load_changed("sam", change, tmp_path)


@pytest.mark.parametrize("kind", [SamArchitecture, Sam2Architecture])
def test_models_built_without_memory_are_the_same_and_their_constants_are_there(kind: type) -> None:
    def build() -> torch.nn.Module:
        return (
            build_sam(SAM_ARCHITECTURES["vit_b"]) if kind is SamArchitecture else build_sam2(SAM2_ARCHITECTURES["tiny"])
        )

    with WithoutMemory():
        empty = build()
    real = build()
    assert all(parameter.is_meta for parameter in empty.parameters())
    assert {key: value.shape for key, value in empty.state_dict().items()} == {
        key: value.shape for key, value in real.state_dict().items()
    }
    for name, constant in real.named_buffers():
        if name not in real.state_dict():
            assert torch.equal(dict(empty.named_buffers())[name], constant)


def test_nothing_of_a_loaded_model_is_without_memory() -> None:
    for model in (load_sam("bundled").model, load_sam2("bundled").model):
        assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
        assert not any(parameter.requires_grad for parameter in model.parameters())
