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

import cv2
import numpy as np
import SimpleITK as sitk  # noqa: N813
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator

from nnunetv2_supervoxel.errors import UserError

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
    """pydantic's first finding, and where it is."""
    first = error.errors()[0]
    where, what = first["loc"], first["msg"]
    if first["type"] == "string_pattern_mismatch":
        where, what = where[:-1], "a name is made of letters, digits, '_', '-' and '.'"
    elif first["type"] == "missing" and isinstance(where[-1], int):
        where, what = where[:-1], "a position is three numbers, x, y and z"
    return f"{' > '.join(map(str, where)) or 'the file'}: {what}"


def voxel_indices(positions: list[Position], space: Space, image: sitk.Image) -> np.ndarray:
    """Positions (x, y, z) as voxel indices (z, y, x): an integer array (k, 3).

    Args:
        positions: in `space`.
        space: see `PromptFile`.
        image: 3D; it has the geometry.

    Raises:
        UserError: a position lies outside the image.
    """
    indices = []
    for position in positions:
        if space == "voxel":
            index = position
        else:
            sign = (-1, -1, 1) if space == "ras" else (1, 1, 1)
            physical = [float(s * p) for s, p in zip(sign, position, strict=True)]
            index = image.TransformPhysicalPointToContinuousIndex(physical)
        rounded = np.floor(np.asarray(index) + 0.5).astype(int)
        if (rounded < 0).any() or (rounded >= image.GetSize()).any():
            raise UserError(
                f"the position {list(position)} ({space}) lies outside the image, "
                f"whose size (x, y, z) is {list(image.GetSize())} voxels"
            )
        indices.append(rounded[::-1])
    return np.stack(indices)


def draw_on_slice(
    prompt: ScribblePrompt | LassoPrompt, indices: np.ndarray, shape: tuple[int, ...], thickness: int
) -> np.ndarray:
    """A scribble or lasso as an image of 0 and 1, uint8 (z, y, x), one slice thick.

    Args:
        prompt: the scribble or lasso.
        indices: voxel indices (z, y, x) of its points: integer (k, 3).
        shape: of the volume.
        thickness: of a scribble, in voxels.

    Raises:
        UserError: the points don't lie on one slice.
    """
    axis = common_axis(indices)
    in_plane = [other for other in range(3) if other != axis]
    plane = np.zeros([shape[other] for other in in_plane], np.uint8)
    points = indices[:, in_plane][:, ::-1].astype(np.int32)  # OpenCV counts (column, row)
    if prompt.type == "lasso":
        cv2.fillPoly(plane, [points], color=1)
    elif len(points) == 1:
        cv2.circle(plane, tuple(int(value) for value in points[0]), radius=thickness // 2, color=1, thickness=-1)
    else:
        cv2.polylines(plane, [points], isClosed=False, color=1, thickness=thickness)
    volume = np.zeros(shape, np.uint8)
    volume[tuple(indices[0, axis] if other == axis else slice(None) for other in range(3))] = plane
    return volume


def common_axis(indices: np.ndarray) -> int:
    """The first axis, of (z, y, x), along which all points (k, 3) lie on one slice.

    Raises:
        UserError: there is none.
    """
    flat = np.flatnonzero((indices == indices[0]).all(axis=0))
    if not len(flat):
        raise UserError("boxes, scribbles and lassos must lie on one slice (one coordinate the same for all points)")
    return int(flat[0])
