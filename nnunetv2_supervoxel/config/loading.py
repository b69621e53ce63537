"""Reads settings from a YAML file, which the user names by its path or by a template's name."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from nnunetv2_supervoxel.config.base import ITEMS, Config
from nnunetv2_supervoxel.config.training import PretrainingConfig, PromptTrainingConfig
from nnunetv2_supervoxel.errors import UserError, did_you_mean
from nnunetv2_supervoxel.package_data import package_folder

AnyConfig = TypeVar("AnyConfig", bound=Config)

_FOR_TRAINING = {PromptTrainingConfig.name, PretrainingConfig.name}  # all other templates are for generation
_FEW = 6  # keys, as objectives have; a message can list so many


def find_config(name_or_path: str, what_for: str = "generation") -> Path:
    """A config file: a path, or the name of a template such as "tiny".

    Args:
        name_or_path: what the user gave.
        what_for: "generation", or the name of a training config, whose template has the same name.

    Raises:
        UserError: there is neither. The message names the templates that fit.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    templates_by_name = {found.stem: found for found in sorted(package_folder("configs").glob("*.yaml"))}
    if name_or_path in templates_by_name:
        return templates_by_name[name_or_path]
    templates = [name for name in templates_by_name if name == what_for or not {name, what_for} & _FOR_TRAINING]
    meant = did_you_mean(name_or_path, templates) or "."
    raise UserError(
        f"There is no config file {path}{meant} Give the path of a YAML file, or a template's name: "
        f"{', '.join(templates)}."
    )


def load_config(path: Path | str, config_class: type[AnyConfig]) -> AnyConfig:
    """Read a YAML file into `config_class`; missing keys keep their defaults.

    Raises:
        UserError: no such file, not YAML, an unknown key, a wrong type or value.
    """
    path = Path(path)
    try:
        content = yaml.load(path.read_text(), _Loader)
    except OSError as error:
        raise UserError(f"The config {path} can't be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: numbers, and text that isn't UTF-8
        raise UserError(f"The config {path} is not valid YAML: {_in_a_line(error)}.") from error
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise UserError(f"The config {path} must hold 'key: value' lines, but holds a {type(content).__name__}.")
    settings = {str(key): value for key, value in content.items()}
    return check_settings(settings, config_class, f"The config {path} is wrong")


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which by itself takes the last of several values for one key."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' is there twice", key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def check_settings(settings: dict, config_class: type[AnyConfig], complaint: str) -> AnyConfig:
    """Settings by name as `config_class`; missing ones keep their defaults.

    Args:
        settings: as read from YAML or JSON.
        config_class: what they must fit.
        complaint: how the message about a mistake begins.

    Raises:
        UserError: an unknown key, a wrong type or value.
    """
    try:
        return config_class(**settings)
    except (ValidationError, TypeError) as error:
        raise UserError(f"{complaint}: {_explain(error, config_class)}.") from error


def _in_a_line(error: Exception) -> str:
    """The parser's words, without the name that it gives to a text."""
    return " ".join(str(error).replace('in "<unicode string>", ', "at ").split())


def _explain(error: Exception, config_class: type[BaseModel]) -> str:
    """pydantic's findings as one sentence that names the keys."""
    if not isinstance(error, ValidationError):
        return str(error)
    findings = error.errors()
    unknown = [str(finding["loc"][0]) for finding in findings if finding["type"] == "extra_forbidden"]
    parts = [_explain_unknown(unknown, list(config_class.model_fields))] if unknown else []
    for finding in findings:
        # If a list has a wrong item, pydantic also reports that the list is too short without it.
        inside = any(
            other["loc"][: len(finding["loc"])] == finding["loc"] for other in findings if other is not finding
        )
        if finding["type"] == "extra_forbidden" or (finding["type"] == "too_short" and inside):
            continue
        if not finding["loc"]:  # about the settings as a whole
            parts.append(finding["msg"].removeprefix("Value error, "))
            continue
        key = ".".join(str(part) for part in finding["loc"] if part != ITEMS)
        problem = finding["msg"].removeprefix("Value error, ")
        parts.append(f"'{key}' is {finding['input']!r}: {problem[0].lower()}{problem[1:]}")
    return "; ".join(parts)


def _explain_unknown(keys: list[str], known: list[str]) -> str:
    """That keys aren't known, which may be meant, and where all of them are listed."""
    named = [f"'{key}'{did_you_mean(key, known)}" for key in keys]
    listed = f"known: {', '.join(known)}" if len(known) <= _FEW else "docs/reference/settings.md lists all keys"
    return f"unknown key{'s' if len(keys) > 1 else ''} {'; '.join(named)} ({listed})"
