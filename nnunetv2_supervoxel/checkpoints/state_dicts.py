"""Reads files of weights, trusted or not, in the forms in which people hand them on."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import safetensors
import torch

from nnunetv2_supervoxel.errors import UserError

WRAPPERS = ("model", "state_dict", "model_state", "model_state_dict")
"""Entries that hold the weights. What lies beside them (an optimizer, a further decoder, numbers) is not looked at."""

PREFIXES = ("module.", "_orig_mod.", "model.", "sam.", "sam_model.")
"""What training code puts in front of all names: DistributedDataParallel, torch.compile, names of attributes."""

_DEEPEST = 4  # wrappers in wrappers; a pickle can hold itself


def read_state_dict(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors in a safetensors file or a plain pickle, and the metadata of the former.

    Nothing but tensors is looked at, wrappers are taken off, and so are prefixes that all names have.

    Returns:
        Tensors under the names that the official files give them, on the CPU, of any dtype; and the metadata.

    Raises:
        UserError: the file is damaged, unsafe to read, or holds no tensors.
    """
    try:
        content, metadata = _read(path)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is not a plain file of weights: it holds other Python objects, or is damaged. Such a file can "
            "run any code, so it was not loaded; take the official checkpoint, or, where you trust the file, save its "
            "weights alone with torch.save(model.state_dict(), ...)."
        ) from error
    except Exception as error:  # truncated and foreign files raise RuntimeError, EOFError, SafetensorError, ...
        reason = str(error).split("\n")[0][:200]
        raise UserError(
            f"{path} can't be read as a checkpoint ({reason}); it may be truncated, so download it again."
        ) from error
    state = _without_prefixes(_tensors(_without_wrappers(content)))
    if not state:
        entries = f" of {', '.join(repr(key)[:40] for key in list(content)[:5])}" if isinstance(content, dict) else ""
        raise UserError(
            f"{path} holds no model weights, but a {type(content).__name__}{entries}; take the official checkpoint."
        )
    return state, metadata


def _read(path: Path) -> tuple[Any, dict[str, str]]:
    if path.suffix == ".safetensors" or _starts_like_safetensors(path):
        with safetensors.safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)), {}


def _starts_like_safetensors(path: Path) -> bool:
    """Eight bytes of length, then JSON. No pickle and no zip file has a brace there."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and not start.startswith((b"PK", b"\x80"))


def _without_wrappers(content: Any) -> Any:
    for _ in range(_DEEPEST):
        if not isinstance(content, dict):
            break
        inside = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), None)
        if inside is None:
            break
        content = inside
    return content


def _tensors(content: Any) -> dict[str, torch.Tensor]:
    if not isinstance(content, dict):
        return {}
    return {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}


def _without_prefixes(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same without any of PREFIXES that all names have, again and again ("module.model.")."""
    while state:
        prefix = next((prefix for prefix in PREFIXES if all(key.startswith(prefix) for key in state)), None)
        if prefix is None:
            break
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state
