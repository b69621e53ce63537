"""Prompts from a JSON file: what to point at in which image.

    {"space": "voxel",
     "cases": {"patient1": {"liver": [
         {"type": "point", "position": [120, 88, 31]},
         {"type": "scribble", "points": [[60, 40, 31], [66, 52, 31]], "positive": false}]}}}

All coordinates are (x, y, z), as image viewers show them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator

from nnunetv2_supervoxel.errors import UserError, did_you_mean

Position = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
Space = Literal["voxel", "lps", "ras"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PointPrompt(_Strict):
    """A click."""

    type: Literal["point"]
    position: Position
    positive: bool = True

    @property
    def positions(self) -> list[Position]:
        """All positions of the prompt."""
        return [self.position]


class BoxPrompt(_Strict):
    """Two opposite corner voxels, both inside the box, on one slice."""

    type: Literal["box"]
    corners: tuple[Position, Position]
    positive: bool = True

    @property
    def positions(self) -> list[Position]:
        """All positions of the prompt."""
        return list(self.corners)


class ScribblePrompt(_Strict):
    """A stroke through these points, on one slice."""

    type: Literal["scribble"]
    points: Annotated[list[Position], Field(min_length=1)]
    positive: bool = True

    @property
    def positions(self) -> list[Position]:
        """All positions of the prompt."""
        return self.points


class LassoPrompt(_Strict):
    """A closed outline through these points, on one slice."""

    type: Literal["lasso"]
    points: Annotated[list[Position], Field(min_length=3)]
    positive: bool = True

    @property
    def positions(self) -> list[Position]:
        """All positions of the prompt."""
        return self.points


Prompt = Annotated[PointPrompt | BoxPrompt | ScribblePrompt | LassoPrompt, Field(discriminator="type")]
Name = Annotated[str, Field(pattern=r"^[\w.-]+$")]  # becomes part of a file name


class PromptFile(_Strict):
    """Prompts by case and object. An object's prompts are in the order in which they are given to the session.

    Attributes:
        space: "voxel": voxel indices; "lps": mm in ITK's and DICOM's coordinates; "ras": mm in NIfTI's.
        cases: prompts by case name, then by object name.
    """

    space: Space = "voxel"
    cases: Annotated[dict[Name, dict[Name, Annotated[list[Prompt], Field(min_length=1)]]], Field(min_length=1)]

    @field_validator("cases")
    @classmethod
    def _something_to_do(cls, cases: dict) -> dict:
        if empty := [case for case, objects in cases.items() if not objects]:
            raise ValueError(f"case '{empty[0]}' names no object")
        return cases


_KEYS = {
    kind: list(model.model_fields)
    for kind, model in (
        ("point", PointPrompt),
        ("box", BoxPrompt),
        ("scribble", ScribblePrompt),
        ("lasso", LassoPrompt),
    )
}


def load_prompts(path: Path) -> PromptFile:
    """Read and check a file of prompts.

    Raises:
        UserError: no such file, not JSON, or an entry that isn't a prompt. The message names the entry.
    """
    try:
        return PromptFile.model_validate_json(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The prompts {path} can't be read: {getattr(error, 'strerror', None) or error}.") from error
    except ValidationError as error:
        raise UserError(f"The prompts {path} are wrong: {_in_plain_words(error)}.") from error


def _in_plain_words(error: ValidationError) -> str:
    """pydantic's first finding, or an unknown key, which can cause others; and where it is."""
    first = next((one for one in error.errors() if one["type"] == "extra_forbidden"), error.errors()[0])
    where, what = first["loc"], first["msg"]
    if first["type"] == "string_pattern_mismatch":
        where, what = where[:-1], "a name is made of letters, digits, '_', '-' and '.'"
    elif first["type"] == "missing" and isinstance(where[-1], int):
        where, what = where[:-1], "a position is three numbers, x, y and z"
    elif first["type"] == "extra_forbidden":
        where, key = where[:-1], where[-1]
        known = _KEYS[str(where[-1])] if where else list(PromptFile.model_fields)
        what = f"unknown key '{key}'{did_you_mean(str(key), known)} (known: {', '.join(known)})"
    return f"{' > '.join(map(str, where)) or 'the file'}: {what}"
