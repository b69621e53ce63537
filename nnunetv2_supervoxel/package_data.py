"""Folders that are installed with the package: config templates and trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def package_folder(name: Literal["configs", "trainers"]) -> Path:
    """The folder's path: inside the package if that was installed from a wheel, beside the package in a checkout."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name
