"""Makes a model from a file of weights, trusted or not. The contents decide what it is, never the file's name."""

from __future__ import annotations

import json
import pickle
import zipfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Generic, TypeVar

import pooch
import safetensors.torch
import torch
from sam2.modeling.sam2_base import SAM2Base
from segment_anything.modeling import Sam

from nnunetv2_supervoxel.checkpoints.architectures import (
    SAM2_ARCHITECTURES,
    SAM_ARCHITECTURES,
    Sam2Architecture,
    SamArchitecture,
    build_sam,
    build_sam2,
)
from nnunetv2_supervoxel.checkpoints.registry import OFFICIAL_CHECKPOINTS, Family, find_checkpoint
from nnunetv2_supervoxel.errors import UserError

METADATA_FORMAT = "nnunetv2_supervoxel"
_LARGEST_NUMBER = 16384  # no number in an architecture is larger; guards against a file that asks for absurd memory
_TITLES = {"sam": "SAM", "sam2": "SAM 2.1"}

Model = TypeVar("Model", Sam, SAM2Base)


@dataclass(frozen=True)
class LoadedCheckpoint(Generic[Model]):
    """A model ready to use, and where it came from.

    Attributes:
        model: in evaluation mode, float32, no gradients.
        name: registry name or file name.
        sha256: digest of the file.
    """

    model: Model
    name: str
    sha256: str


def load_sam(name_or_path: str, device: torch.device | str = "cpu") -> LoadedCheckpoint[Sam]:
    """Load SAM by registry name or path.

    Raises:
        UserError: no such file, or a file that is damaged, unsafe, or not SAM.
    """
    return _load("sam", name_or_path, device)


def load_sam2(
    name_or_path: str, device: torch.device | str = "cpu", model_class: type[SAM2Base] = SAM2Base
) -> LoadedCheckpoint[SAM2Base]:
    """Load SAM 2.1 by registry name or path, as `model_class` (a `SAM2Base`).

    Raises:
        UserError: no such file, or a file that is damaged, unsafe, or not SAM 2.1.
    """
    return _load("sam2", name_or_path, device, model_class)


def save_checkpoint(model: torch.nn.Module, architecture: SamArchitecture | Sam2Architecture, path: Path) -> None:
    """Write float16 weights and their architecture as safetensors; `load_sam` and `load_sam2` read them."""
    metadata = {
        "format": METADATA_FORMAT,
        "family": "sam" if isinstance(architecture, SamArchitecture) else "sam2",
        "architecture": json.dumps(asdict(architecture)),
    }
    state = {key: value.detach().to("cpu", torch.float16).contiguous() for key, value in model.state_dict().items()}
    safetensors.torch.save_file(state, path, metadata)


def _load(
    family: Family, name_or_path: str, device: torch.device | str, model_class: type[SAM2Base] = SAM2Base
) -> LoadedCheckpoint:
    path = find_checkpoint(family, name_or_path)
    sha256 = pooch.file_hash(str(path))
    official = OFFICIAL_CHECKPOINTS[family].get(name_or_path)
    if official and official.sha256 != sha256:
        raise UserError(
            f"{path} is not the official '{name_or_path}' (its SHA-256 differs); delete it and run "
            f"'nnUNetv2_supervoxel_download_checkpoints --{family} {name_or_path}'."
        )
    state, metadata = _read(path)
    _check_family(path, state, family)
    architecture = _from_metadata(path, metadata, family) if metadata else _from_shapes(path, state, family)
    if isinstance(architecture, SamArchitecture):
        model: Sam | SAM2Base = build_sam(architecture)
    else:
        model = build_sam2(architecture, model_class)
    _fill(path, model, state)
    return LoadedCheckpoint(model.requires_grad_(False).to(device), official.name if official else path.name, sha256)


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str] | None]:
    """The tensors in a file, and the metadata if it is one of ours."""
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, "pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is not a plain file of weights: it holds other Python objects, or is damaged. Such a file can "
            "run any code, so it was not loaded; take the official checkpoint."
        ) from error
    except Exception as error:  # truncated and foreign files raise RuntimeError, EOFError, SafetensorError, ...
        reason = str(error).split("\n")[0][:200]
        raise UserError(
            f"{path} can't be read as a checkpoint ({reason}); it may be truncated, so download it again."
        ) from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):  # how SAM 2 is published
        content = content["model"]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise UserError(f"{path} holds no model weights, but a {type(content).__name__}; take the official checkpoint.")
    return content, None


def _check_family(path: Path, state: dict[str, torch.Tensor], wanted: Family) -> None:
    if "image_encoder.trunk.patch_embed.proj.weight" in state:
        found = "sam2" if "obj_ptr_tpos_proj.weight" in state else None
        title = "SAM 2.1" if found else "SAM 2.0"
    elif "image_encoder.patch_embed.proj.weight" in state and "prompt_encoder.no_mask_embed.weight" in state:
        found, title = "sam", "SAM"
    else:
        found, title = None, "neither SAM nor SAM 2"
    if found == wanted:
        return
    official = OFFICIAL_CHECKPOINTS[wanted]
    raise UserError(
        f"{path} holds {title} weights, but {_TITLES[wanted]} weights are needed here; "
        f"use one of {', '.join(official)} (see 'nnUNetv2_supervoxel_download_checkpoints -h')."
    )


def _from_metadata(path: Path, metadata: dict[str, str], family: Family) -> SamArchitecture | Sam2Architecture:
    """The architecture that one of our own files states. It is checked, because the file may come from anywhere."""
    kind = SamArchitecture if family == "sam" else Sam2Architecture
    try:
        values = json.loads(metadata["architecture"])
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        architecture = kind(**values)
        for field in fields(kind):
            value = getattr(architecture, field.name)
            for number in value if isinstance(value, tuple) else (value,):
                if not isinstance(number, (int, float)) or not 0 <= number <= _LARGEST_NUMBER:
                    raise ValueError(f"{field.name} is {number!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} doesn't describe its {_TITLES[family]} architecture ({error}).") from error
    return architecture


def _from_shapes(path: Path, state: dict[str, torch.Tensor], family: Family) -> SamArchitecture | Sam2Architecture:
    """The official size that has the width and depth of these weights' image encoder."""
    sizes: dict[tuple[int, int], SamArchitecture | Sam2Architecture]
    if family == "sam":
        found = (state["image_encoder.patch_embed.proj.weight"].shape[0], _depth(state, "image_encoder.blocks."))
        sizes = {(a.encoder_embed_dim, a.encoder_depth): a for a in SAM_ARCHITECTURES.values()}
    else:
        found = (
            state["image_encoder.trunk.patch_embed.proj.weight"].shape[0],
            _depth(state, "image_encoder.trunk.blocks."),
        )
        sizes = {(a.trunk_embed_dim, sum(a.trunk_stages)): a for a in SAM2_ARCHITECTURES.values()}
    if found not in sizes:
        raise UserError(
            f"{path} has no official {_TITLES[family]} size (encoder width {found[0]}, {found[1]} blocks); "
            f"use one of {', '.join(OFFICIAL_CHECKPOINTS[family])}."
        )
    return sizes[found]


def _depth(state: dict[str, torch.Tensor], prefix: str) -> int:
    return len({key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)})


def _fill(path: Path, model: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    expected = {key: value.shape for key, value in model.state_dict().items()}
    wrong = [key for key in expected if key not in state or state[key].shape != expected[key]]
    wrong += [key for key in state if key not in expected]
    if wrong:
        raise UserError(
            f"{path} doesn't fit the model that its size suggests: {len(wrong)} of {len(expected)} tensors are "
            f"missing, unknown or of another shape (first: {wrong[0]}); take the official checkpoint."
        )
    model.load_state_dict(state)
