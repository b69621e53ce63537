"""Where nnU-Net keeps its datasets and models. This module imports nothing heavy, so that mistakes show at once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

from nnunetv2.utilities.dataset_name_id_conversion import find_candidate_datasets
from nnunetv2.utilities.file_path_utilities import get_output_folder

from nnunetv2_supervoxel.errors import UserError, did_you_mean

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
        UserError: the environment variable isn't set or names no folder, or nnU-Net knows no such dataset, or several.
    """
    root = environment_folder("nnUNet_preprocessed")
    if not root.is_dir():
        raise UserError(f"The environment variable nnUNet_preprocessed says {root}, which is no folder.")
    name = _dataset_name(dataset)
    if name is None or not (root / name).is_dir():
        remedy = "; give its ID, as for nnUNetv2_train."
        if str(dataset).isdigit():
            remedy = f"; run 'nnUNetv2_plan_and_preprocess -d {dataset}' first, or correct the ID."
        elif meant := did_you_mean(str(dataset), [folder.name for folder in root.glob("Dataset*")]):
            remedy = meant
        raise UserError(f"There is no dataset {dataset} in {root}{remedy}")
    return root / name


def read_plans(folder: Path, plans: str, configuration: str | None = None) -> dict:
    """The content of a dataset's plans.

    Args:
        folder: of the dataset, in $nnUNet_preprocessed.
        plans: their name.
        configuration: one that they must have, if any.

    Raises:
        UserError: there are no such plans, they are damaged, or they lack the configuration.
    """
    path = folder / f"{plans}.json"
    if not os.path.isfile(path):
        raise UserError(f"{folder.name} isn't preprocessed with plans '{plans}': there is no {path}.")
    try:
        content = json.loads(path.read_text())
        known = {name: dict(settings) for name, settings in content["configurations"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} can't be read as nnU-Net's plans; plan the dataset again.") from error
    if configuration is not None and configuration not in known:
        raise UserError(
            f"The plans {plans} of {folder.name} have no configuration '{configuration}'; "
            f"there are: {', '.join(known)}."
        )
    return content


def data_identifier(plans: dict, configuration: str) -> str:
    """Name of the folder with a configuration's preprocessed cases, which it may inherit from another configuration.

    Args:
        plans: content of a dataset's plans, see `read_plans`.
        configuration: one that they have.

    Raises:
        UserError: the plans name no such folder.
    """
    configurations, name = plans["configurations"], configuration
    for _ in configurations:
        settings = configurations.get(name, {})
        if _is_name(settings.get("data_identifier")):
            return settings["data_identifier"]
        name = settings.get("inherits_from")
    raise UserError(f"The plans' configuration '{configuration}' has no data_identifier; plan the dataset again.")


def _is_name(text: object) -> bool:
    """Whether it can be a file's or folder's name, and doesn't lead to another folder."""
    return (
        isinstance(text, str) and os.path.basename(text) == text not in ("", ".", "..") and len(os.fsencode(text)) < 256
    )


def trained_checkpoint(
    dataset: str, trainer: str, plans: str, configuration: str, fold: str, name: str = "checkpoint_final.pth"
) -> Path:
    """A checkpoint in $nnUNet_results, named as on nnUNetv2_train's command line.

    Raises:
        UserError: the environment variable isn't set, or nothing was trained under these names.
    """
    environment_folder("nnUNet_results")  # raises if it isn't set
    known = _dataset_name(dataset)
    if known is None:
        raise UserError(
            f"Dataset {dataset} isn't known to nnU-Net: nnUNet_raw, nnUNet_preprocessed and nnUNet_results have no "
            "dataset with that number or name."
        )
    path = Path(get_output_folder(known, trainer, plans, configuration, fold)) / name
    if not os.path.isfile(path):
        there = sorted(folder.name for folder in path.parents[2].glob("*__*__*"))
        trained = f" (trained there: {', '.join(there)})" if there else ""
        raise UserError(f"There is no {path}; train first, or name another checkpoint, fold or trainer{trained}.")
    return path


def _dataset_name(dataset: str | int) -> str | None:
    """ "Dataset990_Demo" of 990, or the name itself. None if none of nnU-Net's folders has a dataset with that number.

    Raises:
        UserError: several have it.
    """
    if str(dataset).startswith("Dataset") and _is_name(str(dataset)):
        return str(dataset)
    if not str(dataset).isdecimal():
        return None
    names = sorted(find_candidate_datasets(int(dataset)))
    if len(names) > 1:
        raise UserError(
            f"Several datasets have the number {dataset}: {', '.join(names)}; give the name instead, or renumber one."
        )
    return str(names[0]) if names else None
