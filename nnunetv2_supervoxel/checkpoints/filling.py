"""Puts a file's weights into a model, if they are that model's."""

from __future__ import annotations

from pathlib import Path

import torch

from nnunetv2_supervoxel.errors import UserError


def fill(model: torch.nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Give a model its weights as float32 and without gradients. All is checked before memory is taken.

    Args:
        model: built in `WithoutMemory`.
        state: a tensor for each of the model's, of any floating point dtype. They are copied, because they may lie in
            the file still.
        path: the file that they are from.

    Raises:
        UserError: tensors are missing, unknown, or of another shape, or claim to be larger than the file.
    """
    expected = model.state_dict()
    differences = [_difference(key, state.get(key), tensor) for key, tensor in expected.items()]
    constants = dict(model.named_buffers())
    for key, tensor in state.items():  # some forks of SAM save pixel_mean and pixel_std, too
        if key not in expected and not _same(tensor, constants.get(key)):
            differences.append(f"{quoted(key)} is unknown")
    wrong = [difference for difference in differences if difference]
    if wrong:
        raise UserError(
            f"{path} doesn't fit the model that its size suggests: {len(wrong)} of {len(expected)} tensors are "
            f"missing, unknown or of another shape (first: {wrong[0]}); take the official checkpoint."
        )
    if sum(state[key].nbytes for key in expected) > path.stat().st_size:
        raise UserError(f"{path} holds fewer numbers than its tensors claim to have; take the official checkpoint.")
    model.load_state_dict({key: _copied(state[key]) for key in expected}, assign=True)
    model.requires_grad_(False)


def quoted(name: str) -> str:
    """A name from a file as it can stand in a message: in quotes, on one line, not too long."""
    return repr(name)[:100]


def _difference(key: str, found: torch.Tensor | None, expected: torch.Tensor) -> str | None:
    if found is None:
        return f"{key} is missing"
    if found.shape != expected.shape:
        return f"{key} is {list(found.shape)}, not {list(expected.shape)}"
    return None if _is_plain(found) else f"{key} is no plain tensor of floating point numbers"


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.float32, copy=True, memory_format=torch.contiguous_format)


def _same(found: torch.Tensor, constant: torch.Tensor | None) -> bool:
    return (
        constant is not None and _is_plain(found) and found.shape == constant.shape and bool((found == constant).all())
    )


def _is_plain(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and tensor.layout is torch.strided and tensor.device.type == "cpu"
