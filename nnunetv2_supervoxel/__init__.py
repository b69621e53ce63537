"""Supervoxels from SAM and SAM 2 as pretraining material for promptable 3D segmentation with nnU-Net."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnunetv2_supervoxel.config import GenerationConfig, load_config
    from nnunetv2_supervoxel.errors import UserError
    from nnunetv2_supervoxel.generation.pipeline import SupervoxelGenerator
    from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel, SupervoxelSet
    from nnunetv2_supervoxel.runners.generate import generate_dataset, generate_folder
    from nnunetv2_supervoxel.runners.reports import CaseReport

__all__ = [
    "CaseReport",
    "GenerationConfig",
    "Supervoxel",
    "SupervoxelGenerator",
    "SupervoxelSet",
    "UserError",
    "generate_dataset",
    "generate_folder",
    "load_config",
]

_HOMES = {
    "CaseReport": "runners.reports",
    "GenerationConfig": "config",
    "Supervoxel": "masks.supervoxel_sets",
    "SupervoxelGenerator": "generation.pipeline",
    "SupervoxelSet": "masks.supervoxel_sets",
    "UserError": "errors",
    "generate_dataset": "runners.generate",
    "generate_folder": "runners.generate",
    "load_config": "config",
}


def __getattr__(name: str) -> object:
    """Import on first use: `-h` and the trainers' workers shouldn't wait for SAM, SAM 2 and torchvision."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
