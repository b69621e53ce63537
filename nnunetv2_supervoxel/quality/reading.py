"""The supervoxels of one case, from disk to what is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nnunetv2_supervoxel.errors import UserError, generate_again
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.files.supervoxel_arrays import read_masks
from nnunetv2_supervoxel.masks.packed_masks import PackedMask
from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel, SupervoxelSet

_NOTHING = PackedMask.of(np.zeros((0, 0, 0), bool))


def read_supervoxels(folder: Path, case: str, shape: tuple[int, int, int]) -> SupervoxelSet:
    """A case's supervoxels, one after the other from disk, each kept as bits in its bounding box.

    Args:
        folder: with the supervoxel files.
        case: identifier.
        shape: of the preprocessed case (z, y, x) in voxels.

    Raises:
        UserError: files are missing or damaged, or don't fit the case or each other.
    """
    provenance = supervoxel_files.read_provenance(folder, case)
    described = list_described(folder, case, provenance)
    if not described:
        return SupervoxelSet(shape, ())
    path = folder / f"{case}{supervoxel_files.ARRAY_ENDING}"
    array = supervoxel_files.open_array(folder, case)
    if array.shape != (len(described), *shape):
        raise UserError(
            f"{path} has shape {array.shape}, but its JSON lists {len(described)} supervoxels and the preprocessed "
            f"case has shape {shape}; {generate_again(case)}"
        )
    try:
        masks = [_cropped(*mask) for mask in read_masks(array)]
    except Exception as error:  # a truncated file opens, and fails on the first chunk that is not there
        raise UserError(f"{path} is damaged; {generate_again(case)}") from error
    supervoxels = [
        Supervoxel(
            mask,
            origin,
            one["axis"],
            one["keyframe"],
            one["predicted_iou"],
            one["stability_score"],
            one.get("consistency"),  # earlier versions didn't have it
        )
        for (mask, origin), one in zip(masks, described, strict=True)
    ]
    noted = {key: provenance[key] for key in ("spacing", "notes", "dropped") if key in provenance}
    return SupervoxelSet(shape, tuple(supervoxels), **noted)


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class _Made(_Strict):
    """What masks alone don't tell of a supervoxel. Earlier versions had no consistency."""

    axis: Literal[0, 1, 2]
    keyframe: Annotated[int, Field(ge=0)]
    predicted_iou: float | None
    stability_score: float | None
    consistency: float | None = None


class _Config(_Strict):
    channel: int | list[int] = 0


class _Provenance(_Strict):
    """What is read of a JSON here."""

    supervoxels: list[_Made]
    config: _Config = Field(default_factory=_Config)
    spacing: Annotated[list[float], Field(min_length=3, max_length=3)] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    dropped: dict[str, int] = Field(default_factory=dict)


def list_described(folder: Path, case: str, provenance: dict) -> list[dict]:
    """What a case's JSON says of every supervoxel.

    Args:
        folder: with the supervoxel files.
        case: identifier.
        provenance: content of its JSON.

    Raises:
        UserError: it wasn't written with an array.
    """
    try:
        _Provenance.model_validate(provenance)
    except ValidationError as error:
        where = " > ".join(map(str, error.errors()[0]["loc"]))
        raise UserError(
            f"{folder / case}.json doesn't describe supervoxels (see {where}); {generate_again(case)}"
        ) from error
    return provenance["supervoxels"]


def _cropped(mask: PackedMask, origin: tuple[int, ...]) -> tuple[PackedMask, tuple[int, int, int]]:
    """A mask and its place, cut to its bounding box; an empty mask has an empty box."""
    box = mask.bounding_box()
    if box is None:
        return _NOTHING, (0, 0, 0)
    z, y, x = (start + side.start for start, side in zip(origin, box, strict=True))
    return mask.cropped(box), (z, y, x)
