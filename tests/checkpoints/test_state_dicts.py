"""Files of weights in the forms in which people hand them on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.checkpoints.loading import load_sam, load_sam2
from nnunetv2_supervoxel.checkpoints.registry import find_checkpoint
from nnunetv2_supervoxel.checkpoints.state_dicts import PREFIXES, WRAPPERS, read_state_dict

STATE = {"image_encoder.weight": torch.arange(3.0), "model.no_prefix": torch.ones(2)}
TRAINING = {
    "optimizer": {"state": {0: {"step": torch.ones(1)}}, "param_groups": [{"lr": 0.1}]},
    "epoch": 3,
    "best": None,
}


def read(content: Any, path: Path) -> dict[str, torch.Tensor]:
    torch.save(content, path)
    return read_state_dict(path)[0]


def is_state(state: dict[str, torch.Tensor]) -> bool:
    return list(state) == list(STATE) and all(torch.equal(state[key], value) for key, value in STATE.items())


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_are_taken_off(tmp_path: Path, wrapper: str) -> None:
    assert is_state(read({wrapper: STATE}, tmp_path / "x.pt"))
    assert is_state(read(TRAINING | {wrapper: STATE, "decoder_state": {"a": torch.ones(1)}}, tmp_path / "x.pt"))
    assert is_state(read({"state_dict": {wrapper: STATE}} | TRAINING, tmp_path / "x.pt"))


@pytest.mark.parametrize(
    "prefix", ["", *PREFIXES, "module.model.", "model.model.", "module.sam.", "sam_model._orig_mod."]
)
def test_prefixes_of_all_names_are_taken_off(tmp_path: Path, prefix: str) -> None:
    assert is_state(read({prefix + key: value for key, value in STATE.items()}, tmp_path / "x.pt"))


def test_prefixes_of_some_names_stay(tmp_path: Path) -> None:
    state = read({"module.a": torch.ones(1), "b": torch.ones(1), "epoch": 3}, tmp_path / "x.pt")
    assert list(state) == ["module.a", "b"]


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"format": "pt", "architecture": "of someone else"}])
@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
def test_safetensors_of_others_are_read(tmp_path: Path, metadata: dict[str, str] | None, name: str) -> None:
    safetensors.torch.save_file(STATE, tmp_path / name, metadata)
    state, found = read_state_dict(tmp_path / name)
    assert is_state({key: state[key] for key in STATE})
    assert found == (metadata or {})


def test_what_holds_no_weights_is_told(tmp_path: Path) -> None:
    endless: dict[str, Any] = {}
    endless["model"] = endless
    for content, found in (
        ([1, 2], "list"),
        ({"encoder": {}, "epoch": 3}, "dict of 'encoder', 'epoch'"),
        (endless, "dict"),
    ):
        with pytest.raises(UserError, match=rf"x\.pt holds no model weights, but a {found}"):
            read(content, tmp_path / "x.pt")


def test_sam_as_micro_sam_trains_it(tmp_path: Path, sam_file: Path) -> None:
    official = torch.load(sam_file, weights_only=True)
    model_state = {f"sam.{key}": value.bfloat16() for key, value in official.items()}
    content = {"iteration": 5, "epoch": 1, "model_state": model_state, "decoder_state": {"out.weight": torch.ones(3)}}
    torch.save(content, tmp_path / "best.pt")
    state = load_sam(str(tmp_path / "best.pt")).model.state_dict()
    assert all(torch.equal(state[key], value.bfloat16().float()) for key, value in official.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_sam2_in_another_precision_as_safetensors(tmp_path: Path, sam2_file: Path, dtype: torch.dtype) -> None:
    official = torch.load(sam2_file, weights_only=True)["model"]
    state = {f"module.model.{key}": value.to(dtype) for key, value in official.items()}
    safetensors.torch.save_file(state, tmp_path / "x.safetensors", {"format": "pt"})
    loaded = load_sam2(str(tmp_path / "x.safetensors")).model.state_dict()
    assert all(torch.equal(loaded[key], value.to(dtype).float()) for key, value in official.items())
    assert all(value.dtype == torch.float32 for value in loaded.values())


def test_colours_that_forks_save_too_are_left_out_only_where_they_are_sams(tmp_path: Path, sam_file: Path) -> None:
    state = torch.load(sam_file, weights_only=True)
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    state |= {"pixel_mean": mean.view(3, 1, 1), "pixel_std": std.view(3, 1, 1)}
    torch.save(state, tmp_path / "fork.pth")
    assert torch.equal(load_sam(str(tmp_path / "fork.pth")).model.pixel_mean, state["pixel_mean"])
    state["pixel_mean"] = torch.zeros(3, 1, 1)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"1 of \d+ tensors .*'pixel_mean' is unknown"):
        load_sam(str(tmp_path / "other.pth"))


def bundled_state() -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    return read_state_dict(find_checkpoint("sam", "bundled"))


def test_further_tensors_are_refused_by_name(tmp_path: Path) -> None:
    state, metadata = bundled_state()
    state["image_encoder.blocks.0.Adapter.weight"] = torch.ones(2)
    safetensors.torch.save_file(state, tmp_path / "x.safetensors", metadata)
    with pytest.raises(UserError, match=r"x\.safetensors .*'image_encoder\.blocks\.0\.Adapter\.weight' is unknown"):
        load_sam(str(tmp_path / "x.safetensors"))


@pytest.mark.parametrize("kind", ["integers", "without numbers"])
def test_tensors_that_are_no_weights_are_refused(tmp_path: Path, sam2_file: Path, kind: str) -> None:
    state = torch.load(sam2_file, weights_only=True)["model"]
    odd = state["no_obj_ptr"]
    state["no_obj_ptr"] = odd.int() if kind == "integers" else odd.to("meta")
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"x\.pt .*no_obj_ptr is no plain tensor"):
        load_sam2(str(tmp_path / "x.pt"))


def test_a_small_file_of_large_tensors_is_refused(tmp_path: Path, sam2_file: Path) -> None:
    state = torch.load(sam2_file, weights_only=True)["model"]
    torch.save({key: torch.zeros(1).expand(value.shape) for key, value in state.items()}, tmp_path / "x.pt")
    assert (tmp_path / "x.pt").stat().st_size < 1e6
    with pytest.raises(UserError, match=r"x\.pt holds fewer numbers than its tensors"):
        load_sam2(str(tmp_path / "x.pt"))
