"""Where PyTorch runs."""

from __future__ import annotations

import torch

from nnunetv2_supervoxel.errors import UserError


def usable_device(device: torch.device | str | None) -> torch.device:
    """The device that was asked for, or if none was, CUDA where there is one, else the CPU.

    Raises:
        UserError: it can't be used.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(device)
        torch.zeros(1, device=device)
    except Exception as error:  # PyTorch raises AssertionError, RuntimeError and others for absent devices
        raise UserError(
            f"The device '{device}' can't be used ({str(error).splitlines()[0]}); take another, such as -device cpu."
        ) from error
    return device
