"""Where nnU-Net keeps its datasets. This module imports nothing heavy, so that a wrong ID is reported at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

from nnunetv2_supervoxel.errors import UserError

Variable = Literal["nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"]


def environment_folder(variable: Variable) -> Path:
    """The path that one of nnU-Net's environment variables holds; there may be no folder yet.

    Raises:
        UserError: the variable isn't set.
    """
    if variable not in os.environ:
        raise UserError(f"The environment variable {variable} is not set; export the folder's path.")
    return Path(os.environ[variable])


def dataset_folder(dataset: str | int) -> Path:
    """The folder of a dataset in $nnUNet_preprocessed. nnU-Net makes it when it plans the dataset.

    Args:
        dataset: ID or name ("Dataset990_Demo").

    Raises:
        UserError: the environment variable isn't set or names no folder, or nnU-Net knows no such dataset.
    """
    root = environment_folder("nnUNet_preprocessed")
    if not root.is_dir():
        raise UserError(f"The environment variable nnUNet_preprocessed says {root}, which is no folder.")
    try:
        return root / maybe_convert_to_dataset_name(dataset)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"There is no dataset {dataset} in {root}; "
            f"run 'nnUNetv2_plan_and_preprocess -d {dataset}' first, or correct the ID."
        ) from error
