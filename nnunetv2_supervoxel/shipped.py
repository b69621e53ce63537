"""Folders that come along with the package: config templates and trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from nnunetv2_supervoxel.errors import UserError


def shipped_folder(name: Literal["configs", "trainers"]) -> Path:
    """Its path: inside the package when installed from a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


def find_config(name_or_path: str) -> Path:
    """A config file: a path, or the name of a shipped template such as "tiny".

    Raises:
        UserError: there is neither.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    template = shipped_folder("configs") / f"{name_or_path}.yaml"
    if template.is_file():
        return template
    templates = ", ".join(sorted(found.stem for found in template.parent.glob("*.yaml")))
    raise UserError(f"There is no config file {path}; give the path of a YAML file, or a template's name: {templates}.")
