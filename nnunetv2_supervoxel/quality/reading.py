"""The supervoxels of one case, from disk to what is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.files.supervoxel_arrays import read_masks
from nnunetv2_supervoxel.masks.packed_masks import PackedMask
from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel, SupervoxelSet

_MADE = {"axis", "keyframe", "predicted_iou", "stability_score"}  # what masks alone don't tell
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
            f"case has shape {shape}; generate the case again with --overwrite."
        )
    try:
        masks = [_cropped(*mask) for mask in read_masks(array)]
    except Exception as error:  # a truncated file opens, and fails on the first chunk that is not there
        raise UserError(f"{path} is damaged; generate the case again with --overwrite.") from error
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


def list_described(folder: Path, case: str, provenance: object) -> list[dict]:
    """What a case's JSON says of every supervoxel.

    Args:
        folder: with the supervoxel files.
        case: identifier.
        provenance: content of its JSON.

    Raises:
        UserError: it wasn't written with an array.
    """
    described = provenance.get("supervoxels") if isinstance(provenance, dict) else None
    if not isinstance(described, list) or any(not isinstance(one, dict) or _MADE - one.keys() for one in described):
        raise UserError(f"{folder / case}.json doesn't describe supervoxels; generate the case again with --overwrite.")
    return described


def _cropped(mask: PackedMask, origin: tuple[int, ...]) -> tuple[PackedMask, tuple[int, int, int]]:
    """A mask and its place, cut to its bounding box; an empty mask has an empty box."""
    box = mask.bounding_box()
    if box is None:
        return _NOTHING, (0, 0, 0)
    z, y, x = (start + side.start for start, side in zip(origin, box, strict=True))
    return mask.cropped(box), (z, y, x)
