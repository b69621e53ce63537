"""A folder that nnInteractive's session opens. This module imports nothing heavy, so that mistakes show at once."""

from __future__ import annotations

from pathlib import Path

from nnunetv2_supervoxel.errors import UserError


def checkpoint_of(model: Path) -> Path:
    """The checkpoint in a model folder.

    Raises:
        UserError: it isn't such a folder.
    """
    checkpoints = sorted(model.glob("fold_*/checkpoint_final.pth"))
    if len(checkpoints) != 1 or not (model / "inference_info.json").is_file():
        raise UserError(
            f"{model} isn't a model folder for nnInteractive (inference_info.json and one fold_X with "
            "checkpoint_final.pth); make one with nnUNetv2_supervoxel_export --format nninteractive."
        )
    return checkpoints[0]
