"""What a network can learn: one file for each objective.

A new objective is one file here, and one line in `OBJECTIVES` if SupervoxelPretrainTrainer is to offer it.
"""

from __future__ import annotations

import importlib

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.training.objectives.base import Objective

# By the name in the config: module here, and class.
OBJECTIVES = {
    "naming": "naming.Naming",
    "in_context": "in_context.InContext",
}


def find_objective(name: str) -> type[Objective]:
    """An objective of SupervoxelPretrainTrainer by its name.

    Raises:
        UserError: no objective has that name.
    """
    if name not in OBJECTIVES:
        raise UserError(f"There is no objective '{name}' in the training config; take one of: {', '.join(OBJECTIVES)}.")
    module, kind = OBJECTIVES[name].split(".")
    return getattr(importlib.import_module(f"{__name__}.{module}"), kind)
