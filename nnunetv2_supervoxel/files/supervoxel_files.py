"""The supervoxel files of a case, and which of them make it whole.

One triple per case, in a folder beside the preprocessed one:

* ``CASE.b2nd``: Blosc2 array, uint8, (n, z, y, x), 0 and 1; one supervoxel per chunk, chunks shaped for patches
* ``CASE.pkl``: ``{"class_locations": {1: array, ..., n: array}}``, integer (k, 4) rows of (channel, z, y, x)
* ``CASE.json``: provenance, and the only file of a case for which nothing was found (``n`` = 0)

For images that are no Blosc2 arrays, a 4D image in their own format and geometry (``CASE.nii.gz``) takes the place of
the array, and there is no pickle.

How masks and class locations are stored in their files is the subject of `supervoxel_arrays` and `class_locations`;
where the folder lies and which cases it holds, that of `supervoxel_folders`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import blosc2
import numpy as np
import pooch

from nnunetv2_supervoxel.errors import UserError, generate_again
from nnunetv2_supervoxel.files import class_locations, supervoxel_arrays
from nnunetv2_supervoxel.files.aside import check_name, folder_aside, make_folder, remove_leftovers
from nnunetv2_supervoxel.files.blosc2_arrays import is_whole
from nnunetv2_supervoxel.files.image_folders import find_arrays
from nnunetv2_supervoxel.files.supervoxel_folders import ARRAY_ENDING as ARRAY_ENDING
from nnunetv2_supervoxel.files.supervoxel_folders import PROVENANCE_ENDING
from nnunetv2_supervoxel.files.supervoxel_folders import list_cases as list_cases
from nnunetv2_supervoxel.files.supervoxel_folders import supervoxel_folder as supervoxel_folder
from nnunetv2_supervoxel.files.volumes import Header
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet

_LOCATIONS_ENDING = ".pkl"
_IMAGE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")  # single-file formats in which ITK writes 4D images
DEFAULT_PATCH_SIZE = (128, 128, 128)


def writable_ending(ending: str) -> str:
    """The ending under which supervoxels of an image with this ending are stored: its own, or NIfTI's."""
    return ending.lower() if ending.lower() in (ARRAY_ENDING, *_IMAGE_ENDINGS) else ".nii.gz"


def is_done(folder: Path | str, case: str, ending: str = ARRAY_ENDING) -> bool:
    """Whether `case` needs no further work: its files are there, or its JSON says that nothing was found.

    An array that was cut off, by a copy or a full disk, needs some; further damage is for `quality.contract` to find.
    """
    try:
        provenance = read_provenance(folder, case)
        n = provenance["n"]
        voxels = sum(one["voxels"] for one in provenance["supervoxels"])
    except (UserError, KeyError, TypeError):
        return False
    if not isinstance(voxels, int) or n != len(provenance["supervoxels"]):
        return False
    paths = paths_of(folder, case, ending)
    return n == 0 or (all(path.is_file() for path in paths) and (ending != ARRAY_ENDING or is_whole(paths[-1])))


def check_ours(folder: Path | str, case: str, ending: str = ARRAY_ENDING) -> None:
    """Refuse to take the place of files that generation didn't write.

    Raises:
        UserError: there are files of the case's names, but no JSON that says how they were made, or a damaged one.
    """
    there = [path for end in _endings(ending) if (path := _path(folder, case, end)).exists()]
    provenance = _path(folder, case, PROVENANCE_ENDING)
    if not there:
        return
    try:
        if provenance.exists() and "n" in read_provenance(folder, case):
            return
    except UserError as error:
        raise UserError(
            f"{provenance} is damaged, so that nothing says how {there[-1].name} was made; {generate_again(case)}"
        ) from error
    raise UserError(
        f"{there[-1]} is there already and wasn't made by generation, so it is left alone; choose another folder "
        "for the output, or move it away (--overwrite replaces it)."
    )


def check_names(folder: Path | str, case: str, ending: str = ARRAY_ENDING) -> None:
    """Refuse a case whose files can't have its name.

    Raises:
        UserError: the name is too long for the file system.
    """
    for path in paths_of(folder, case, ending):
        check_name(path)


def read_provenance(folder: Path | str, case: str) -> dict:
    """The case's JSON.

    Raises:
        UserError: the file is missing or isn't a JSON object.
    """
    path = _path(folder, case, PROVENANCE_ENDING)
    try:
        return dict(json.loads(path.read_text()).items())
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} can't be read: it is missing or damaged; {generate_again(case)}") from error


def open_array(folder: Path | str, case: str) -> blosc2.NDArray:
    """The case's supervoxels, opened lazily: uint8 (n, z, y, x). Index it to read just a patch of one supervoxel.

    Raises:
        UserError: the file is missing, truncated, or not a 4D uint8 array.
    """
    return supervoxel_arrays.open_array(_path(folder, case, ARRAY_ENDING))


def file_digest(folder: Path | str, case: str, ending: str = ARRAY_ENDING) -> str:
    """SHA-256 of the case's file with the masks, as its JSON has it."""
    return pooch.file_hash(str(_path(folder, case, ending)))


def read_locations(folder: Path | str, case: str) -> dict[int, np.ndarray]:
    """The case's class locations {1: rows, ..., n: rows}, rows integer (k, 4) of (channel, z, y, x).

    Raises:
        UserError: the file is missing, damaged, or holds anything but arrays.
    """
    return class_locations.read_locations(_path(folder, case, _LOCATIONS_ENDING))


def rewrite_locations(folder: Path | str, case: str) -> int:
    """Write the case's pickle anew from its array; the number of supervoxels found there.

    Raises:
        UserError: the array is missing, damaged or truncated.
    """
    return class_locations.rewrite_locations(*_array_and_locations(folder, case), case)


def rewrite_folder(folder: Path, processes: int, tell: Callable[[str, str | None], object]) -> None:
    """Write the pickle of every array in `folder` anew, in several processes.

    Args:
        folder: with the arrays.
        processes: how many at most.
        tell: gets each case as soon as it is through, and the reason if it failed.

    Raises:
        UserError: there is no such folder, or no array in it.
    """
    cases = find_arrays(folder)
    remove_leftovers(folder)
    class_locations.rewrite_many({case: _array_and_locations(folder, case) for case in cases}, processes, tell)


def write_case(
    folder: Path | str,
    case: str,
    supervoxels: SupervoxelSet,
    provenance: dict,
    patch_size: Sequence[int] = DEFAULT_PATCH_SIZE,
    ending: str = ARRAY_ENDING,
    header: Header | None = None,
) -> None:
    """Write a case's files; a reader sees the old files, none, or the new ones, never a mixture.

    Args:
        folder: made if missing.
        case: case identifier.
        supervoxels: what to store; an empty set writes the JSON alone and removes older files of the case.
        provenance: JSON-serialisable; "n", "shape", "spacing", "notes", one entry per supervoxel, and the SHA-256 of
            the file with the masks ("array_sha256") are added here.
        patch_size: training patch (z, y, x) in voxels (or (y, x)), which shapes the chunks.
        ending: ".b2nd", or one of an image format (see `writable_ending`).
        header: geometry for an image format.

    Raises:
        NotWritableError: there is no room in the folder, or writing isn't allowed.
    """
    folder = Path(folder)
    make_folder(folder)
    with folder_aside(folder) as aside:
        if len(supervoxels) and ending == ARRAY_ENDING:
            array, locations = _array_and_locations(aside, case)
            supervoxel_arrays.write_array(array, supervoxels, patch_size)
            masks = ((supervoxel.packed, supervoxel.origin) for supervoxel in supervoxels.supervoxels)
            class_locations.write_locations(locations, class_locations.locations_of(masks, len(supervoxels), case))
        elif len(supervoxels):
            supervoxel_arrays.write_image(_path(aside, case, ending), supervoxels, header)
        digest = {"array_sha256": file_digest(aside, case, ending)} if len(supervoxels) else {}
        text = json.dumps(provenance | digest | _description(supervoxels), indent=1) + "\n"
        _path(aside, case, PROVENANCE_ENDING).write_text(text)
        # Old files go first: a crash in between leaves an unfinished case, never new provenance on an old array.
        remove_case(folder, case, ending)
        for end in _endings(ending):
            if _path(aside, case, end).exists():
                os.replace(_path(aside, case, end), _path(folder, case, end))


def remove_case(folder: Path | str, case: str, ending: str = ARRAY_ENDING) -> None:
    """Remove a case's files, the one with the masks first: what a crash leaves is unfinished, and known as ours."""
    for path in reversed(paths_of(folder, case, ending)):
        path.unlink(missing_ok=True)


def paths_of(folder: Path | str, case: str, ending: str = ARRAY_ENDING) -> list[Path]:
    """Paths of a case's files, in the order in which they appear, whether they are there or not."""
    return [_path(folder, case, end) for end in _endings(ending)]


def _path(folder: Path | str, case: str, ending: str) -> Path:
    return Path(folder) / f"{case}{ending}"


def _array_and_locations(folder: Path | str, case: str) -> tuple[Path, Path]:
    return _path(folder, case, ARRAY_ENDING), _path(folder, case, _LOCATIONS_ENDING)


def _endings(ending: str) -> tuple[str, ...]:
    """A case's files in the order in which they appear: the array comes last."""
    before = (PROVENANCE_ENDING, _LOCATIONS_ENDING) if ending == ARRAY_ENDING else (PROVENANCE_ENDING,)
    return (*before, ending)


def _description(supervoxels: SupervoxelSet) -> dict:
    return {
        "n": len(supervoxels),
        "shape": list(supervoxels.shape),
        "spacing": list(supervoxels.spacing),
        "notes": list(supervoxels.notes),
        "dropped": dict(supervoxels.dropped),
        "supervoxels": [
            {
                "axis": s.axis,
                "keyframe": s.keyframe,
                "predicted_iou": s.predicted_iou,
                "stability_score": s.stability_score,
                "consistency": s.consistency,
                "voxels": s.voxels,
                "bounding_box": s.bounding_box,
            }
            for s in supervoxels.supervoxels
        ],
    }
