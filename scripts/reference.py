"""Writes docs/reference/commands.md and settings.md from the code: what `-h` prints, and every setting.

    python scripts/reference.py

Run it after a change of a command's flags or of a setting; tests/test_docs.py compares the pages with the code.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import sys
from pathlib import Path
from unittest import mock

import yaml

from nnunetv2_supervoxel.config import GenerationConfig, PretrainingConfig, PromptTrainingConfig
from nnunetv2_supervoxel.config.base import Config
from nnunetv2_supervoxel.training.objectives import OBJECTIVES, find_objective

REPOSITORY = Path(__file__).parents[1]
FOLDER = REPOSITORY / "docs" / "reference"
WIDTH = 88  # of what -h prints
GENERATED = "<!-- Written by scripts/reference.py; don't edit. -->\n"
TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "`true` or `false`",
    "object": "a mapping, key: value",
    "null": "`null`",
}
BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
    "multipleOf": "a multiple of",
}

COMMANDS = """
# Commands

What every command prints with `-h`. The [tutorial](../tutorial.md) shows most of them at work.

Exit codes of all: 0 if everything is done, 1 if something failed (it is named), 2 for wrong flags, and 128 plus the
signal's number if a signal ended it (130 for Ctrl-C).
"""

SETTINGS = """
# Settings

Settings are YAML files. Keys that are left out keep their defaults; unknown keys are an error.

- Generation: `-config` takes the path of a file, or the name of a shipped template:
  {templates}.
- Training: `export nnUNet_supervoxel_training_config=FILE.yaml` names the file for either trainer.
"""
TRAINING = "For `{}`. A key that is `null` counts as left out."


def pages() -> dict[Path, str]:
    """The generated pages: file and text."""
    return {FOLDER / "commands.md": commands_page(), FOLDER / "settings.md": settings_page()}


def commands_page() -> str:
    """One section per command, in the order of pyproject.toml."""
    found = re.findall(r'^(\w+) = "(\S+):main"$', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)
    sections = [f"## {name}\n\n```text\n{help_of(name, module)}```\n" for name, module in found]
    return GENERATED + "\n".join([COMMANDS, *sections])


def help_of(name: str, module: str) -> str:
    """What a command prints with -h, on any machine."""
    environment = {"COLUMNS": str(WIDTH + 2), "nnUNet_supervoxel_checkpoints": "/path/to/checkpoints"}
    printed = io.StringIO()
    main = importlib.import_module(module).main
    with (
        mock.patch.dict(os.environ, environment),
        mock.patch.object(sys, "argv", [name, "-h"]),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        main()
    return printed.getvalue()


def settings_page() -> str:
    """One section per class of settings, one subsection per setting."""
    generation = sorted(path.stem for path in (REPOSITORY / "configs").glob("*.yaml") if "training" not in path.stem)
    sections = [
        SETTINGS.format(templates=", ".join(f"`{name}`" for name in generation)),
        section("Generation", "For `nnUNetv2_supervoxel_generate` and `SuperVoxel_generate`.", GenerationConfig),
        section("Training with prompts", TRAINING.format("SupervoxelPromptTrainer"), PromptTrainingConfig),
        section("Training without prompts", TRAINING.format("SupervoxelPretrainTrainer"), PretrainingConfig),
    ]
    for name in OBJECTIVES:
        text = f"For `SupervoxelPretrainTrainer` with `objective: {name}`: keys inside `objective_settings`."
        sections.append(section(f"Objective {name}", text, find_objective(name).Settings))
    return GENERATED + "\n".join(sections)


def section(title: str, text: str, kind: type[Config]) -> str:
    """All settings of one class."""
    properties = kind.model_json_schema()["properties"]
    defaults = kind().model_dump(mode="json")
    parts = [f"## {title}\n\n{text}\n"]
    for name, field in kind.model_fields.items():
        values = f"Default: `{in_yaml(defaults[name])}`. Takes {allowed(properties[name])}."
        parts.append(f"### {name}\n\n{field.description}\n\n{values}\n")
    return "\n".join(parts)


def in_yaml(value: object) -> str:
    """A value as a YAML file has it."""
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False).removesuffix("...\n").strip()


def allowed(schema: dict) -> str:
    """What a setting takes, in words.

    Args:
        schema: of the setting, as in JSON Schema.
    """
    if choices := schema.get("anyOf", schema.get("oneOf")):
        return " or ".join(allowed(choice) for choice in choices)
    if names := schema.get("enum", [schema["const"]] if "const" in schema else None):
        return " or ".join(f"`{name}`" for name in names)
    if "prefixItems" in schema:
        return f"[{', '.join(allowed(item) for item in schema['prefixItems'])}]"
    if schema["type"] == "array":
        return f"a list of: {allowed(schema['items'])}"
    bounds = [f"{words} {schema[key]:g}" for key, words in BOUNDS.items() if key in schema]
    return TYPES[schema["type"]] + (f" ({', '.join(bounds)})" if bounds else "")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, text in pages().items():
        file.write_text(text)
        print(file)
