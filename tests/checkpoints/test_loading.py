"""Loading, on files of the official structure that the tests make themselves."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.checkpoints.architectures import (
    SAM2_ARCHITECTURES,
    SAM_ARCHITECTURES,
    build_sam,
    build_sam2,
)
from nnunetv2_supervoxel.checkpoints.loading import load_sam, load_sam2
from nnunetv2_supervoxel.checkpoints.registry import find_checkpoint

pytestmark = pytest.mark.usefixtures("free_memory")


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    content = torch.load(path, weights_only=True)
    return content.get("model", content)


def test_the_official_builders_take_the_same_files(sam_file: Path, sam2_file: Path) -> None:
    from sam2.build_sam import build_sam2_video_predictor
    from segment_anything import sam_model_registry

    assert sam_model_registry["vit_b"](checkpoint=str(sam_file)) is not None
    assert build_sam2_video_predictor("configs/sam2.1/sam2.1_hiera_t.yaml", str(sam2_file), device="cpu") is not None


def test_sam_is_recognised_by_its_contents(sam_file: Path) -> None:
    loaded = load_sam(str(sam_file))
    state = loaded.model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in weights_of(sam_file).items())
    assert loaded.model.image_encoder.img_size == 1024
    assert not loaded.model.training
    assert loaded.name == "renamed.pth"
    assert len(loaded.sha256) == 64


def test_sam2_is_recognised_by_its_contents(sam2_file: Path) -> None:
    loaded = load_sam2(str(sam2_file))
    state = loaded.model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in weights_of(sam2_file).items())
    assert loaded.model.image_size == 1024
    assert not loaded.model.training


@pytest.mark.parametrize("name", ["vit_h", "vit_l"])
def test_every_sam_size_loads_at_full_size(tmp_path: Path, name: str) -> None:
    # Zeros by way of a meta device: making 600 M random numbers would take longer than loading them.
    with torch.device("meta"):
        state = build_sam(SAM_ARCHITECTURES[name]).state_dict()
    state = {key: torch.zeros(value.shape) for key, value in state.items()}
    state["image_encoder.pos_embed"][0, 0, 0, 0] = 7.0
    torch.save(state, tmp_path / "x.pth")
    del state
    model = load_sam(str(tmp_path / "x.pth")).model
    assert len(model.image_encoder.blocks) == SAM_ARCHITECTURES[name].encoder_depth
    assert model.image_encoder.pos_embed[0, 0, 0, 0] == 7.0


@pytest.mark.parametrize("name", ["large", "base_plus", "small"])
def test_every_sam2_size_loads_at_full_size(tmp_path: Path, name: str) -> None:
    source = build_sam2(SAM2_ARCHITECTURES[name])
    torch.save({"model": source.state_dict()}, tmp_path / "x.pt")
    model = load_sam2(str(tmp_path / "x.pt")).model
    assert len(model.image_encoder.trunk.blocks) == sum(SAM2_ARCHITECTURES[name].trunk_stages)
    assert torch.equal(model.no_mem_embed, source.no_mem_embed)


@pytest.mark.parametrize("family", ["sam", "sam2"])
def test_the_bundled_checkpoints_are_small_and_load(family: str) -> None:
    path = find_checkpoint(family, "bundled")
    assert path.stat().st_size <= 10e6
    model = (load_sam if family == "sam" else load_sam2)("bundled").model
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_a_mixed_up_family_is_told(sam_file: Path, sam2_file: Path) -> None:
    with pytest.raises(UserError, match=r"renamed\.pt holds SAM 2\.1 weights, but SAM weights are needed"):
        load_sam(str(sam2_file))
    with pytest.raises(UserError, match=r"renamed\.pth holds SAM weights, but SAM 2\.1 weights are needed"):
        load_sam2(str(sam_file))


def test_sam_2_0_is_told_from_2_1(tmp_path: Path, sam2_file: Path) -> None:
    new = ("no_obj_embed_spatial", "obj_ptr_tpos_proj.weight", "obj_ptr_tpos_proj.bias")
    torch.save({"model": {k: v for k, v in weights_of(sam2_file).items() if k not in new}}, tmp_path / "old.pt")
    with pytest.raises(UserError, match=r"holds SAM 2\.0 weights"):
        load_sam2(str(tmp_path / "old.pt"))


def test_a_truncated_file_is_told(tmp_path: Path, sam2_file: Path) -> None:
    (tmp_path / "half.pt").write_bytes(sam2_file.read_bytes()[:-10_000_000])
    with pytest.raises(UserError, match=r"half\.pt"):
        load_sam2(str(tmp_path / "half.pt"))


class _Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path: Path) -> None:
    for save in (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))):
        save({"model": _Harmful(tmp_path / "harm")}, tmp_path / "bad.pt")
        with pytest.raises(UserError, match=r"bad\.pt"):
            load_sam2(str(tmp_path / "bad.pt"))
        assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"PK\x03\x04 and no zip"])
@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_files_of_other_kinds_are_told(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name) as error:
        load_sam(str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_weights_of_another_model_are_told(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(3, 4).state_dict(), tmp_path / "linear.pth")
    with pytest.raises(UserError, match="neither SAM nor SAM 2"):
        load_sam(str(tmp_path / "linear.pth"))
    torch.save([1, 2, 3], tmp_path / "list.pth")
    with pytest.raises(UserError, match="holds no model weights, but a list"):
        load_sam(str(tmp_path / "list.pth"))


def test_a_wrong_size_is_told(tmp_path: Path, sam_file: Path) -> None:
    state = weights_of(sam_file)
    unknown = {key: value for key, value in state.items() if not key.startswith("image_encoder.blocks.11.")}
    torch.save(unknown, tmp_path / "short.pth")
    with pytest.raises(UserError, match=r"no official SAM size .*768, 11 blocks"):
        load_sam(str(tmp_path / "short.pth"))
    state["mask_decoder.iou_token.weight"] = torch.zeros(1, 128)
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(UserError, match=r"1 of \d+ tensors.*mask_decoder\.iou_token\.weight"):
        load_sam(str(tmp_path / "odd.pth"))
