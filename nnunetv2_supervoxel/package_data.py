"""Folders that come along with the package: config templates and trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from nnunetv2_supervoxel.errors import UserError

_FOR_TRAINING = ("prompt_training",)  # all other templates are for generation


def shipped_folder(name: Literal["configs", "trainers"]) -> Path:
    """Its path: inside the package when installed from a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


def find_config(name_or_path: str, what_for: Literal["generation", "training"] = "generation") -> Path:
    """A config file: a path, or the name of a shipped template such as "tiny".

    Raises:
        UserError: there is neither; names the templates for this.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    template = shipped_folder("configs") / f"{name_or_path}.yaml"
    if template.is_file():
        return template
    names = sorted(found.stem for found in template.parent.glob("*.yaml"))
    templates = ", ".join(name for name in names if (name in _FOR_TRAINING) == (what_for == "training"))
    raise UserError(f"There is no config file {path}; give the path of a YAML file, or a template's name: {templates}.")
