"""Prompts from a JSON file: what to point at in which image.

    {"space": "voxel",
     "cases": {"patient1": {"liver": [
         {"type": "point", "position": [120, 88, 31]},
         {"type": "scribble", "points": [[60, 40, 31], [66, 52, 31]], "positive": false}],
       "kidney": [
         {"type": "mask", "file": "atlas/patient1.nii.gz", "label": 3}]}}}

All coordinates are (x, y, z), as image viewers show them. Files are looked for from the folder of the JSON file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)

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


class MaskPrompt(_Strict):
    """A mask to start from, in the image's geometry. It comes first, because the session forgets what was before it.

    Attributes:
        file: an image.
        label: of the object in a label map, or in a 4D file the number of its volume, from 1; None: every voxel above
            0 belongs to the object.
    """

    type: Literal["mask"]
    file: Path
    label: PositiveInt | None = None

    @field_validator("file")
    @classmethod
    def _from_the_prompts(cls, file: Path, info: ValidationInfo) -> Path:
        return info.context["folder"] / file if info.context else file


def _mask_first(prompts: list[Prompt]) -> list[Prompt]:
    if any(prompt.type == "mask" for prompt in prompts[1:]):
        raise ValueError("an object's mask comes before its other prompts, and there is one at most")
    return prompts


DrawnPrompt = PointPrompt | BoxPrompt | ScribblePrompt | LassoPrompt
Prompt = Annotated[DrawnPrompt | MaskPrompt, Field(discriminator="type")]
Prompts = Annotated[list[Prompt], Field(min_length=1), AfterValidator(_mask_first)]
Name = Annotated[str, Field(pattern=r"^[\w.-]+( [\w.-]+)*$")]  # becomes part of a file name


class PromptSource(Protocol):
    """Which objects are segmented, and by which prompts.

    Attributes:
        space: of the prompts' coordinates, see `PromptFile`.
        total: number of objects in all cases; None if that isn't known before.
    """

    space: Space

    @property
    def total(self) -> int | None: ...

    def list_cases(self, images: Mapping[str, object]) -> list[str]:
        """The cases to segment, of which there are images, or should be.

        Args:
            images: by name, CASE or CASE_0000.

        Raises:
            UserError: there are none.
        """

    def objects(self, case: str) -> Mapping[str, Callable[[Path], list[Prompt]]]:
        """By name of the object a function that gives its prompts; it takes a folder, in which it may write files.

        Raises:
            UserError: of this case they can't be told.
        """


class PromptFile(_Strict):
    """Prompts by case and object. An object's prompts are in the order in which they are given to the session.

    Attributes:
        space: "voxel": voxel indices; "lps": mm in ITK's and DICOM's coordinates; "ras": mm in NIfTI's.
        cases: prompts by case name, then by object name.
    """

    space: Space = "voxel"
    cases: Annotated[dict[Name, dict[Name, Prompts]], Field(min_length=1)]

    @field_validator("cases")
    @classmethod
    def _something_to_do(cls, cases: dict) -> dict:
        if empty := [case for case, objects in cases.items() if not objects]:
            raise ValueError(f"case '{empty[0]}' names no object")
        return cases

    @property
    def total(self) -> int:
        """Number of objects."""
        return sum(map(len, self.cases.values()))

    def list_cases(self, _: Mapping[str, object]) -> list[str]:
        """All of them: where an image is missing, that is a mistake."""
        return list(self.cases)

    def objects(self, case: str) -> dict[str, Callable[[Path], list[Prompt]]]:
        """See `PromptSource`."""
        return {name: partial(_given, prompts) for name, prompts in self.cases[case].items()}


def _given(prompts: list[Prompt], _: Path) -> list[Prompt]:
    return prompts


_KEYS = {
    kind: list(model.model_fields)
    for kind, model in (
        ("point", PointPrompt),
        ("box", BoxPrompt),
        ("scribble", ScribblePrompt),
        ("lasso", LassoPrompt),
        ("mask", MaskPrompt),
    )
}


def load_prompts(path: Path) -> PromptFile:
    """Read and check a file of prompts.

    Raises:
        UserError: no such file, not JSON, or an entry that isn't a prompt. The message names the entry.
    """
    try:
        return PromptFile.model_validate_json(path.read_text(), context={"folder": path.parent})
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The prompts {path} can't be read: {getattr(error, 'strerror', None) or error}.") from error
    except ValidationError as error:
        raise UserError(f"The prompts {path} are wrong: {_in_plain_words(error)}.") from error


def _in_plain_words(error: ValidationError) -> str:
    """pydantic's first finding, or an unknown key, which can cause others; and where it is."""
    first = next((one for one in error.errors() if one["type"] == "extra_forbidden"), error.errors()[0])
    where, what = first["loc"], first["msg"]
    if first["type"] == "string_pattern_mismatch":
        where, what = where[:-1], "a name is made of letters, digits, '_', '-', '.' and spaces between them"
    elif first["type"] == "missing" and isinstance(where[-1], int):
        where, what = where[:-1], "a position is three numbers, x, y and z"
    elif first["type"] == "tuple_type" and where[-1] != "corners":
        what = "a position is three numbers, x, y and z"
    elif first["type"] == "too_short":
        what = "there is nothing in it"
    elif first["type"] == "union_tag_invalid":
        kind = first["ctx"]["tag"]
        what = f"unknown type '{kind}'{did_you_mean(kind, _KEYS)} (known: {', '.join(_KEYS)})"
    elif first["type"] == "value_error":
        what = str(first["ctx"]["error"])
    elif first["type"] == "extra_forbidden":
        where, key = where[:-1], where[-1]
        known = _KEYS[str(where[-1])] if where else list(PromptFile.model_fields)
        what = f"unknown key '{key}'{did_you_mean(str(key), known)} (known: {', '.join(known)})"
    # Numbers count from 1, as in the messages about prompts that don't fit an image.
    counted = (part + 1 if isinstance(part, int) else part for part in where)
    parts = (part if str(part).isprintable() else repr(part) for part in counted)
    return f"{' > '.join(map(str, parts)) or 'the file'}: {what}"
