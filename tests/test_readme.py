"""The README tells the truth: its example runs, its table lists every setting, its scripts and commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from nnunetv2_supervoxel.config import GenerationConfig, PretrainingConfig, PromptTrainingConfig
from nnunetv2_supervoxel.config.base import Config
from nnunetv2_supervoxel.phantoms import make_phantom
from nnunetv2_supervoxel.training.objectives.in_context import InContextSettings
from nnunetv2_supervoxel.training.objectives.naming import NamingSettings

README = (Path(__file__).parents[1] / "README.md").read_text()


def table(kind: type[Config]) -> list[str]:
    """One row per setting: name, default as YAML, doc."""
    defaults = kind().model_dump(mode="json")
    rows = []
    for name, field in kind.model_fields.items():
        dumped = yaml.safe_dump(defaults[name], default_flow_style=True, sort_keys=False)
        default = dumped.removesuffix("...\n").strip()
        rows.append(f"| `{name}` | `{default}` | {field.description} |")
    return rows


SETTINGS = (GenerationConfig, PromptTrainingConfig, PretrainingConfig, NamingSettings, InContextSettings)


@pytest.mark.parametrize("row", dict.fromkeys(row for kind in SETTINGS for row in table(kind)))
def test_every_setting_is_in_the_table(row: str) -> None:
    assert row in README.splitlines()


def test_the_python_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    scope = {"image": make_phantom((40, 88, 112), np.random.default_rng(1)).image}
    exec(example, scope)
    assert scope["supervoxels"].dtype == np.uint8
    assert len(scope["supervoxels"]) >= 1
    assert scope["supervoxels"].shape[1:] == (40, 88, 112)


def test_files_that_are_mentioned_exist() -> None:
    for path in re.findall(r"(?:scripts|docs|configs)(?:/\w+)+\.\w+", README):
        assert (Path(__file__).parents[1] / path).is_file(), path


def test_commands_that_are_mentioned_exist() -> None:
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    for command in set(re.findall(r"\b(?:nnUNetv2_supervoxel_\w+|SuperVoxel_\w+)", README)):
        assert f"\n{command} = " in project, command
