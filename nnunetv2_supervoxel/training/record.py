"""The settings that a training leaves in its output folder: for exports, and for whoever goes on with it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import save_json

from nnunetv2_supervoxel.config import TrainingConfig, load_config
from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.trained_model import START_MODEL_FILE

CONFIG_VARIABLE = "nnUNet_supervoxel_training_config"


def write_record(folder: Path, config: TrainingConfig, start: Mapping[str, Any] | None, begins: bool) -> None:
    """Write the settings, as JSON that is a training config itself, and what is known of the start model.

    Args:
        folder: the training's output folder.
        config: its settings.
        start: `StartModel.provenance`; None: the config names no start model.
        begins: whether this is the first epoch. Then nothing stays of a training that was in the folder before.
    """
    # Unsorted: users take types of interactions in their order, and classes are numbered in that of the datasets.
    save_json(config.model_dump(mode="json"), str(_record(folder, config)), sort_keys=False)
    if start:
        save_json(start, str(folder / START_MODEL_FILE))
    elif begins:
        (folder / START_MODEL_FILE).unlink(missing_ok=True)


def compare_with_record(folder: Path, config: TrainingConfig, named: bool) -> list[str]:
    """What the log should say where a training goes on, or is validated, with other settings than it had.

    Args:
        folder: the training's output folder. Those of early versions hold no record: then there is nothing to say.
        config: the settings now.
        named: whether the user named a config; if not, nobody wanted what differs.

    Raises:
        UserError: no config is named and settings differ; the optimizer differs, whose state can't be taken over; the
            training began with a start model, and there is none now; or the record can't be read.
    """
    path = _record(folder, config)
    if not path.is_file():
        return []
    try:
        then = load_config(path, type(config)).model_dump()
    except UserError as error:
        raise UserError(f"{error} Remove the file to go on without a look at the settings that were used.") from error
    now = config.model_dump()
    changed = {name: (then[name], now[name]) for name in now if then[name] != now[name]}
    if changed and not named:
        raise UserError(
            f"{CONFIG_VARIABLE} isn't set, and the training in {folder} had other settings than the defaults "
            f"({', '.join(changed)}); to go on with them: export {CONFIG_VARIABLE}={shlex.quote(str(path))}"
        )
    if "optimizer" in changed:
        raise UserError(
            f"The training in {folder} has the optimizer {then['optimizer']} and can't go on with {now['optimizer']}; "
            "correct 'optimizer' in the training config."
        )
    if then.get("start_from") and not now["start_from"]:
        raise UserError(
            f"The training in {folder} started from {then['start_from']}, and the training config now names no start "
            f"model; go on with the settings that it had: export {CONFIG_VARIABLE}={shlex.quote(str(path))} (if that "
            "model is gone, set 'start_from' to null there)."
        )
    told = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in changed.items())
    return [f"other settings than in {path.name}: {told}"] if changed else []


def _record(folder: Path, config: TrainingConfig) -> Path:
    return folder / f"{config.name}.json"
