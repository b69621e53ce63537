"""Supervoxel files: their names, their layout, writing and reading. No other module knows any of it.

One triple per case, in a folder beside the preprocessed one:

* ``CASE.b2nd``: Blosc2 array, uint8, (n, z, y, x), 0 and 1; one supervoxel per chunk, chunks shaped for patches
* ``CASE.pkl``: ``{"class_locations": {1: array, ..., n: array}}``, integer (k, 4) rows of (channel, z, y, x)
* ``CASE.json``: provenance, and the only file of a case for which nothing was found (``n`` = 0)

For images that are no Blosc2 arrays, a 4D image in their own format and geometry (``CASE.nii.gz``) takes the place of
the array, and there is no pickle.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import blosc2
import numpy as np
import SimpleITK as sitk  # noqa: N813
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files.volumes import Header
from nnunetv2_supervoxel.masks.boxes import bounding_box
from nnunetv2_supervoxel.masks.packed_masks import PackedMask
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet
from nnunetv2_supervoxel.randomness import case_generator

ARRAY_ENDING = ".b2nd"
_IMAGE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")  # single-file formats in which ITK writes 4D images
FOLDER_SUFFIX = "_supervoxels"
DEFAULT_PATCH_SIZE = (128, 128, 128)
# Supervoxels are small in their volume: of small chunks more hold nothing but zeros, which cost neither space nor time.
_MAX_CHUNK_BYTES = 512 * 1024

# nnU-Net's own figures for class locations: at least so many voxels of a class, or this share of them.
MIN_LOCATIONS = 10_000
MIN_LOCATIONS_SHARE = 0.01


def supervoxel_folder(preprocessed_dataset: Path | str, data_identifier: str) -> Path:
    """Where a dataset's supervoxels live: ``nnUNet_preprocessed/DatasetXXX_NAME/<data_identifier>_supervoxels``."""
    return Path(preprocessed_dataset) / f"{data_identifier}{FOLDER_SUFFIX}"


def writable_ending(ending: str) -> str:
    """The ending under which supervoxels of an image with this ending are stored: its own, or NIfTI's."""
    return ending.lower() if ending.lower() in (ARRAY_ENDING, *_IMAGE_ENDINGS) else ".nii.gz"


def list_cases(folder: Path | str) -> list[str]:
    """Identifiers, sorted, of the cases in `folder` that have at least one supervoxel (an array)."""
    return sorted(path.stem for path in Path(folder).glob("*.b2nd") if not path.name.startswith("."))


def is_done(folder: Path | str, case: str, ending: str = ARRAY_ENDING) -> bool:
    """Whether `case` needs no further work: its files are whole, or its JSON says that nothing was found."""
    try:
        n = read_provenance(folder, case)["n"]
    except (UserError, KeyError, TypeError):
        return False
    return n == 0 or all((Path(folder) / f"{case}{end}").is_file() for end in _endings(ending) if end != ".json")


def check_ours(folder: Path | str, case: str, ending: str = ARRAY_ENDING) -> None:
    """Refuse to take the place of files that generation didn't write.

    Raises:
        UserError: there are files of the case's names, but no JSON that says how supervoxels were made.
    """
    there = [path for end in _endings(ending) if (path := Path(folder) / f"{case}{end}").exists()]
    try:
        ours = "n" in read_provenance(folder, case)
    except (UserError, TypeError):
        ours = False
    if there and not ours:
        raise UserError(
            f"{there[-1]} is there already and wasn't made by generation, so it is left alone; choose another folder "
            "for the output, or move it away (--overwrite replaces it)."
        )


def read_provenance(folder: Path | str, case: str) -> dict:
    """The case's JSON.

    Raises:
        UserError: the file is missing or is not valid JSON.
    """
    path = Path(folder) / f"{case}.json"
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read ({error}); generate the case again with --overwrite.") from error


def open_array(folder: Path | str, case: str) -> blosc2.NDArray:
    """The case's supervoxels, opened lazily: uint8 (n, z, y, x). Index it to read just a patch of one supervoxel.

    Raises:
        UserError: the file is missing, truncated, or not a 4D uint8 array.
    """
    path = Path(folder) / f"{case}.b2nd"
    try:
        # As nnU-Net opens its own arrays: one thread (data loaders are many processes), mapped except on Windows.
        mapped = {} if os.name == "nt" else {"mmap_mode": "r"}
        array = blosc2.open(urlpath=str(path), mode="r", dparams={"nthreads": 1}, **mapped)
    except Exception as error:  # blosc2 raises RuntimeError, ValueError, OSError and more for a damaged file
        raise UserError(f"{path} can't be opened ({error}); make the case again (--overwrite).") from error
    if not isinstance(array, blosc2.NDArray) or array.ndim != 4 or array.dtype != np.uint8:
        raise UserError(f"{path} isn't a 4D uint8 array (n, z, y, x); make the case again (--overwrite).")
    return array


def read_locations(folder: Path | str, case: str) -> dict[int, np.ndarray]:
    """Class locations {1: rows, ..., n: rows}, rows integer (k, 4) of (channel, z, y, x).

    The older tool's layout, a list with one {1: (k, 3) array} per supervoxel, is read too.

    Raises:
        UserError: the file is missing, damaged, or holds anything but arrays in one of the two layouts.
    """
    path = Path(folder) / f"{case}.pkl"
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file).load()
        if isinstance(content, list):
            return {i + 1: _with_channel(entry[1], i) for i, entry in enumerate(content)}
        return {int(key): _with_channel(rows, int(key) - 1) for key, rows in content["class_locations"].items()}
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise UserError(
            f"{path} can't be read as class locations ({error}); write it again with "
            f"'SuperVoxel_save_fg_location -supervoxel_folder {Path(folder)}'."
        ) from error


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
        provenance: JSON-serialisable; "n", "shape", "spacing", "notes" and one entry per supervoxel are added here.
        patch_size: training patch (z, y, x) in voxels (or (y, x)), which shapes the chunks.
        ending: ".b2nd", or one of an image format (see `writable_ending`).
        header: geometry for an image format.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f".{case}.writing-*"):  # of a run that was killed while it wrote this case
        shutil.rmtree(leftover, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{case}.writing-", dir=folder))
    try:
        (aside / f"{case}.json").write_text(json.dumps(provenance | _description(supervoxels), indent=1) + "\n")
        if len(supervoxels) and ending == ARRAY_ENDING:
            _write_array(aside / f"{case}{ending}", supervoxels, patch_size)
            _write_locations(aside / f"{case}.pkl", case, supervoxels)
        elif len(supervoxels):
            _write_image(aside / f"{case}{ending}", supervoxels, header)
        # Old files go first: a crash in between leaves an unfinished case, never new provenance on an old array.
        for end in reversed(_endings(ending)):
            (folder / f"{case}{end}").unlink(missing_ok=True)
        for end in _endings(ending):
            if (aside / f"{case}{end}").exists():
                os.replace(aside / f"{case}{end}", folder / f"{case}{end}")
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def rewrite_locations(folder: Path | str, case: str) -> int:
    """Write the case's pickle anew from its array; the number of supervoxels found there.

    Raises:
        UserError: see `open_array`; and if the array is truncated.
    """
    array = open_array(folder, case)
    rng = _locations_generator(case)
    try:
        occupied = _occupied_chunks(array)
        rows = {
            channel + 1: sample_locations(*_read_occupied(array, channel, occupied), channel, rng)
            for channel in range(array.shape[0])
        }
    except Exception as error:  # a truncated file opens, and fails on the first chunk that is not there
        raise UserError(f"{Path(folder) / case}.b2nd is damaged ({error}); generate the case again.") from error
    path = Path(folder) / f"{case}.pkl"
    aside = path.with_name(f".{path.name}.writing")
    _dump_locations(aside, rows)
    os.replace(aside, path)
    return len(rows)


def sample_locations(mask: PackedMask, origin: Sequence[int], channel: int, rng: np.random.Generator) -> np.ndarray:
    """Voxels of one supervoxel as nnU-Net samples a class's: all of up to 10,000, else 10,000 or 1 % of them.

    Args:
        mask: boolean (z, y, x).
        origin: voxel index (z, y, x) in the volume at which the mask begins.
        channel: value of the first column.
        rng: draws the sample.

    Returns:
        int64 (k, 4) rows of (channel, z, y, x) in the volume, in scan order, no row twice.
    """
    count = mask.count()
    wanted = min(count, max(MIN_LOCATIONS, int(np.ceil(count * MIN_LOCATIONS_SHARE))))
    chosen = np.arange(count) if wanted == count else np.sort(rng.choice(count, wanted, replace=False, shuffle=False))
    rows = np.empty((len(chosen), 4), np.int64)
    rows[:, 0] = channel
    passed = 0  # voxels of the mask in earlier slabs
    for start, slab in mask.slabs():
        inside = np.flatnonzero(slab)
        first, last = np.searchsorted(chosen, (passed, passed + len(inside)))
        voxels = np.unravel_index(inside[chosen[first:last] - passed], slab.shape)
        begin = (start + origin[0], *origin[1:])
        rows[first:last, 1:] = np.stack(voxels, axis=1) + begin
        passed += len(inside)
    return rows


def _write_array(path: Path, supervoxels: SupervoxelSet, patch_size: Sequence[int]) -> None:
    shape = (len(supervoxels), *supervoxels.shape)
    blocks, chunks = comp_blosc2_params(shape, tuple(patch_size), bytes_per_pixel=1, max_chunk_nbytes=_MAX_CHUNK_BYTES)
    # One thread keeps the bytes on disk independent of the machine.
    cparams = {"codec": blosc2.Codec.ZSTD, "clevel": 5, "filters": [blosc2.Filter.NOFILTER], "nthreads": 1}
    array = blosc2.zeros(shape, np.uint8, urlpath=str(path), chunks=chunks, blocks=blocks, cparams=cparams)
    for channel, supervoxel in enumerate(supervoxels.supervoxels):
        rows, *rest = supervoxel.slices
        for start in range(rows.start - rows.start % chunks[1], rows.stop, chunks[1]):  # no chunk is written twice
            part = slice(max(start, rows.start), min(start + chunks[1], rows.stop))
            mask = supervoxel.packed.rows(part.start - rows.start, part.stop - rows.start)
            array[(channel, part, *rest)] = mask.view(np.uint8)


def _occupied_chunks(array: blosc2.NDArray) -> np.ndarray:
    """Boolean, one entry per chunk in the array's grid of chunks: False where Blosc2 notes that all of it is zero."""
    grid = [-(-size // chunk) for size, chunk in zip(array.shape, array.chunks, strict=True)]
    zero = [info.special == blosc2.SpecialValue.ZERO for info in array.schunk.iterchunks_info()]
    return ~np.reshape(zero, grid)


def _read_occupied(array: blosc2.NDArray, channel: int, occupied: np.ndarray) -> tuple[PackedMask, tuple[int, ...]]:
    """What a supervoxel is made of, read from no more than the box of its occupied chunks.

    Returns:
        The box (z, y, x), and the voxel index (z, y, x) at which it begins; an empty box if there is nothing.
    """
    chunks = bounding_box(occupied[channel // array.chunks[0]]) or (slice(0, 0),) * 3
    box = [slice(s.start * length, s.stop * length) for s, length in zip(chunks, array.chunks[1:], strict=True)]
    return PackedMask.of(array[(channel, *box)] > 0), tuple(s.start for s in box)


def _write_image(path: Path, supervoxels: SupervoxelSet, header: Header | None) -> None:
    """A 4D image (x, y, z, n) with the geometry of the input."""
    image = sitk.GetImageFromArray(supervoxels.to_array(), isVector=False)
    if header is not None:
        direction = np.eye(4)
        direction[:3, :3] = np.reshape(header.direction, (3, 3))
        image.SetSpacing((*header.spacing, 1.0))
        image.SetOrigin((*header.origin, 0.0))
        image.SetDirection(direction.ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=True)


def _endings(ending: str) -> tuple[str, ...]:
    """A case's files in the order in which they appear: the array comes last."""
    return (".json", ".pkl", ending) if ending == ARRAY_ENDING else (".json", ending)


def _write_locations(path: Path, case: str, supervoxels: SupervoxelSet) -> None:
    rng = _locations_generator(case)
    _dump_locations(
        path, {i + 1: sample_locations(s.packed, s.origin, i, rng) for i, s in enumerate(supervoxels.supervoxels)}
    )


def _locations_generator(case: str) -> np.random.Generator:
    """The same for generation and for a rewrite: the pickle follows from the array and the case's name."""
    return case_generator(0, case, "class locations")


def _dump_locations(path: Path, rows: dict[int, np.ndarray]) -> None:
    path.write_bytes(pickle.dumps({"class_locations": rows}, protocol=4))


def _description(supervoxels: SupervoxelSet) -> dict:
    return {
        "n": len(supervoxels),
        "shape": list(supervoxels.shape),
        "spacing": list(supervoxels.spacing),
        "notes": list(supervoxels.notes),
        "supervoxels": [
            {
                "axis": s.axis,
                "keyframe": s.keyframe,
                "predicted_iou": s.predicted_iou,
                "stability_score": s.stability_score,
                "voxels": s.voxels,
                "bounding_box": s.bounding_box,
            }
            for s in supervoxels.supervoxels
        ],
    }


def _with_channel(rows: object, channel: int) -> np.ndarray:
    """Rows as (k, 4), checked; (k, 3) rows of the older layout get their channel."""
    rows = np.asarray(rows)
    if rows.ndim != 2 or rows.shape[1] not in (3, 4) or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(f"expected integer rows of 3 or 4 columns, got {rows.dtype} {rows.shape}")
    if rows.shape[1] == 3:
        rows = np.insert(rows, 0, channel, axis=1)
    return rows


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles plain containers and numpy arrays, and refuses everything else: a pickle can run any code."""

    _MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
    _NAMES = ("ndarray", "dtype", "_reconstruct", "scalar", "_frombuffer")

    def find_class(self, module: str, name: str) -> object:
        if module in self._MODULES and name in self._NAMES:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which class locations never need")
