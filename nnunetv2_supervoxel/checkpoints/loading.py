"""Makes a model from a file of weights, trusted or not. The contents decide what it is, never the file's name."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import pooch
import safetensors.torch
import torch
from pydantic import TypeAdapter, ValidationError
from sam2.modeling.sam2_base import SAM2Base
from segment_anything.modeling import Sam

from nnunetv2_supervoxel.checkpoints.architectures import (
    SAM2_ARCHITECTURES,
    SAM_ARCHITECTURES,
    Sam2Architecture,
    SamArchitecture,
    WithoutMemory,
    build_sam,
    build_sam2,
)
from nnunetv2_supervoxel.checkpoints.families import TITLES, family_of
from nnunetv2_supervoxel.checkpoints.filling import fill, quoted
from nnunetv2_supervoxel.checkpoints.registry import OFFICIAL_CHECKPOINTS, Family, find_checkpoint
from nnunetv2_supervoxel.checkpoints.state_dicts import read_state_dict
from nnunetv2_supervoxel.errors import UserError

METADATA_FORMAT = "nnunetv2_supervoxel"

SAM_SIZES = {(a.encoder_embed_dim, a.encoder_depth): a for a in SAM_ARCHITECTURES.values()}
SAM2_SIZES = {(a.trunk_embed_dim, sum(a.trunk_stages)): a for a in SAM2_ARCHITECTURES.values()}
"""The official sizes by the width and the depth of their image encoders."""

Architecture = TypeVar("Architecture", SamArchitecture, Sam2Architecture)
Model = TypeVar("Model", Sam, SAM2Base)


@dataclass(frozen=True)
class LoadedCheckpoint(Generic[Model]):
    """A model ready to use, and where it came from.

    Attributes:
        model: in evaluation mode, float32, no gradients.
        name: registry name or file name.
        sha256: digest of the file.
        image_size: side of the square, in pixels, to which the model's images are resized.
    """

    model: Model
    name: str
    sha256: str
    image_size: int


def load_sam(name_or_path: str, device: torch.device | str = "cpu") -> LoadedCheckpoint[Sam]:
    """Load SAM by registry name or path.

    Raises:
        UserError: no such file, or a file that is damaged, unsafe, or not SAM.
    """
    file = _open("sam", name_or_path)
    architecture = _stated(file, SamArchitecture) or _official(file, SAM_SIZES, "image_encoder")
    with WithoutMemory():
        model = build_sam(architecture)
    fill(model, file.state, file.path)
    return LoadedCheckpoint(model.to(device), file.name, file.sha256, architecture.image_size)


def load_sam2(
    name_or_path: str,
    device: torch.device | str = "cpu",
    model_class: type[SAM2Base] = SAM2Base,
    image_size: int | None = None,
) -> LoadedCheckpoint[SAM2Base]:
    """Load SAM 2.1 by registry name or path, as `model_class` (a `SAM2Base`).

    Args:
        name_or_path: what `find_checkpoint` takes.
        device: where the model goes.
        model_class: `SAM2Base`, or a subclass.
        image_size: side of the square images, in pixels, for which the weights were trained, which can't be seen from
            them: 512 for MedSAM2. None: what the file's metadata states, or else 1024.

    Raises:
        UserError: no such file, a file that is damaged, unsafe, or not SAM 2.1, or an image size that it can't have.
    """
    file = _open("sam2", name_or_path)
    architecture = _stated(file, Sam2Architecture) or _official(file, SAM2_SIZES, "image_encoder.trunk")
    if image_size is not None:
        try:
            architecture = replace(architecture, image_size=image_size)
        except ValueError as error:
            raise UserError(f"sam2_image_size doesn't fit {file.path}: {error}.") from error
    with WithoutMemory():
        model = build_sam2(architecture, model_class)
    fill(model, file.state, file.path)
    return LoadedCheckpoint(model.to(device), file.name, file.sha256, architecture.image_size)


def save_checkpoint(model: torch.nn.Module, architecture: SamArchitecture | Sam2Architecture, path: Path) -> None:
    """Write float16 weights and their architecture as safetensors; `load_sam` and `load_sam2` read them."""
    metadata = {
        "format": METADATA_FORMAT,
        "family": "sam" if isinstance(architecture, SamArchitecture) else "sam2",
        "architecture": json.dumps(asdict(architecture)),
    }
    state = {key: value.detach().to("cpu", torch.float16).contiguous() for key, value in model.state_dict().items()}
    safetensors.torch.save_file(state, path, metadata)


@dataclass(frozen=True)
class _File:
    """A file of weights of the wanted family, as read: nothing has been checked but the names of some tensors."""

    path: Path
    name: str
    sha256: str
    family: Family
    state: dict[str, torch.Tensor]
    metadata: dict[str, str]


def _open(family: Family, name_or_path: str) -> _File:
    path = find_checkpoint(family, name_or_path)
    sha256 = pooch.file_hash(str(path))
    official = OFFICIAL_CHECKPOINTS[family].get(name_or_path)
    if official and official.sha256 != sha256:
        raise UserError(
            f"{path} is not the official '{name_or_path}' (its SHA-256 differs); delete it and run "
            f"'nnUNetv2_supervoxel_download_checkpoints --{family} {name_or_path}'."
        )
    state, metadata = read_state_dict(path)
    _check_family(path, state, family)
    return _File(path, official.name if official else path.name, sha256, family, state, metadata)


def _check_family(path: Path, state: dict[str, torch.Tensor], wanted: Family) -> None:
    found, title = family_of(state.keys())
    if found == wanted:
        return
    raise UserError(
        f"{path} holds {title} weights, but {TITLES[wanted]} weights are needed here (its first tensor is "
        f"{quoted(next(iter(state)))}); use one of {', '.join(OFFICIAL_CHECKPOINTS[wanted])} "
        "(see 'nnUNetv2_supervoxel_download_checkpoints -h')."
    )


def _stated(file: _File, kind: type[Architecture]) -> Architecture | None:
    """The architecture that one of our own files states. It is checked, because the file may come from anywhere."""
    if file.metadata.get("format") != METADATA_FORMAT:
        return None
    try:
        return TypeAdapter(kind).validate_json(file.metadata.get("architecture", ""))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = " ".join(f"{where}: {first['msg']}".removeprefix(": ").split())[:200]
        raise UserError(f"{file.path} doesn't describe its {TITLES[file.family]} architecture ({reason}).") from error


def _official(file: _File, sizes: dict[tuple[int, int], Architecture], encoder: str) -> Architecture:
    """The official size that has the width and depth of these weights' image encoder."""
    width = next(iter(file.state[f"{encoder}.patch_embed.proj.weight"].shape), 0)
    blocks = f"{encoder}.blocks."
    depth = len({key.removeprefix(blocks).split(".")[0] for key in file.state if key.startswith(blocks)})
    if (width, depth) not in sizes:
        raise UserError(
            f"{file.path} has no official {TITLES[file.family]} size (encoder width {width}, {depth} blocks); "
            f"use one of {', '.join(OFFICIAL_CHECKPOINTS[file.family])}."
        )
    return sizes[width, depth]
