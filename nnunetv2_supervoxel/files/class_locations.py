"""Class locations: voxels of every supervoxel, as nnU-Net samples, stores and reads those of its classes.

A file is a pickle, ``{"class_locations": {1: array, ..., n: array}}``, with integer (k, 4) rows of (channel, z, y, x).
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunetv2_supervoxel.errors import UserError, generate_again, unexpected
from nnunetv2_supervoxel.files.aside import file_aside
from nnunetv2_supervoxel.files.supervoxel_arrays import open_array, read_masks
from nnunetv2_supervoxel.masks.packed_masks import PackedMask
from nnunetv2_supervoxel.progress import ProgressBar
from nnunetv2_supervoxel.randomness import case_generator
from nnunetv2_supervoxel.worker_processes import WorkerProcesses

# nnU-Net's own figures: at least so many voxels of a class, or this share of them.
MIN_LOCATIONS = 10_000
MIN_LOCATIONS_SHARE = 0.01
# A loader reads a case's file for every patch. So of more supervoxels than these, each has accordingly fewer voxels.
FULLY_SAMPLED = 20
LEAST_LOCATIONS = 100


def locations_of(masks: Iterable[tuple[PackedMask, Sequence[int]]], count: int, case: str) -> dict[int, np.ndarray]:
    """Class locations {1: rows, ..., n: rows} of a case.

    They follow from the masks and the case's name. So a rewrite gives what generation gave.

    Args:
        masks: of every supervoxel: boolean (z, y, x), and the voxel index (z, y, x) at which it begins.
        count: how many supervoxels there are.
        case: case identifier.
    """
    rng = case_generator(0, case, "class locations")
    share = min(1.0, FULLY_SAMPLED / max(1, count))
    return {channel + 1: sample_locations(*mask, channel, rng, share) for channel, mask in enumerate(masks)}


def sample_locations(
    mask: PackedMask, origin: Sequence[int], channel: int, rng: np.random.Generator, share: float = 1.0
) -> np.ndarray:
    """Voxels of one supervoxel as nnU-Net samples a class's: all of up to 10,000, else 10,000 or 1 % of them.

    Args:
        mask: boolean (z, y, x).
        origin: voxel index (z, y, x) in the volume at which the mask begins.
        channel: value of the first column.
        rng: draws the sample.
        share: of nnU-Net's figures, where a case has many supervoxels; but at least 100 voxels.

    Returns:
        int64 (k, 4) rows of (channel, z, y, x) in the volume, in scan order, no row twice.
    """
    count = mask.count()
    figure = share * max(MIN_LOCATIONS, count * MIN_LOCATIONS_SHARE)
    wanted = min(count, max(LEAST_LOCATIONS, int(np.ceil(figure))))
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


def write_locations(path: Path, locations: Mapping[int, np.ndarray]) -> None:
    """Write a file."""
    path.write_bytes(pickle.dumps({"class_locations": dict(locations)}, protocol=4))


def read_locations(path: Path) -> dict[int, np.ndarray]:
    """Class locations {1: rows, ..., n: rows}, rows integer (k, 4) of (channel, z, y, x).

    The older tool's layout is read too: a list with one {1: (k, 3) array} per supervoxel.

    Raises:
        UserError: the file is missing, damaged, or holds anything but arrays in one of the two layouts.
    """
    try:
        content = load_plain(path)
        if isinstance(content, list):
            return {i + 1: _with_channel(entry[1], i) for i, entry in enumerate(content)}
        return {int(key): _with_channel(rows, int(key) - 1) for key, rows in content["class_locations"].items()}
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = str(error) if isinstance(error, _ForbiddenError) else "it is missing or damaged"
        raise UserError(
            f"{path} can't be read as class locations: {reason}; write it again with "
            f"'SuperVoxel_save_fg_location -supervoxel_folder {path.parent}'."
        ) from error


def load_plain(path: Path) -> Any:
    """What a pickle of plain containers and arrays holds.

    Raises:
        Exception: it is missing or damaged, which can raise nearly anything, or it holds anything else.
    """
    with path.open("rb") as file:
        return _ArrayUnpickler(file).load()


def rewrite_locations(array: Path, path: Path, case: str) -> int:
    """Write a file anew from the case's array; the number of supervoxels found there. The file appears whole.

    Args:
        array: file with the masks, see `open_array`.
        path: file to write.
        case: case identifier.

    Raises:
        UserError: the array is missing, damaged or truncated, or nothing can be written beside it.
    """
    masks = open_array(array)
    try:
        locations = locations_of(read_masks(masks), masks.shape[0], case)
    except Exception as error:  # a truncated file opens, and fails on the first chunk that is not there
        raise UserError(f"{array} is damaged; {generate_again(case)}") from error
    with file_aside(path) as aside:
        write_locations(aside, locations)
    return len(locations)


def rewrite_many(
    files: Mapping[str, tuple[Path, Path]], processes: int, tell: Callable[[str, str | None], object]
) -> None:
    """`rewrite_locations` for many cases, in several processes.

    Args:
        files: by case: its array, and the file to write.
        processes: how many at most.
        tell: gets each case as soon as it is through, and the reason if it failed.
    """
    with WorkerProcesses(min(processes, len(files))) as pool:
        futures = {case: pool.submit(rewrite_locations, *paths, case) for case, paths in files.items()}
        for case, future in ProgressBar(futures.items(), desc="class locations", unit="case"):
            failure: str | None = None
            try:
                future.result()
            except UserError as error:
                failure = str(error)
            except Exception as error:  # one bad case must not stop the others
                failure = unexpected(error)
            tell(case, failure)


def _with_channel(rows: object, channel: int) -> np.ndarray:
    """Rows as (k, 4), checked; (k, 3) rows of the older layout get their channel."""
    array = np.asarray(rows)
    if array.ndim != 2 or array.shape[1] not in (3, 4) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"expected integer rows of 3 or 4 columns, got {array.dtype} {array.shape}")
    return np.insert(array, 0, channel, axis=1) if array.shape[1] == 3 else array


class _ForbiddenError(pickle.UnpicklingError):
    """A pickle holds more than arrays."""


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles plain containers and numpy arrays, and refuses everything else: a pickle can run any code."""

    _MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
    _NAMES = ("ndarray", "dtype", "_reconstruct", "scalar", "_frombuffer")

    def find_class(self, module: str, name: str) -> object:
        if module in self._MODULES and name in self._NAMES:
            return super().find_class(module, name)
        raise _ForbiddenError(f"it asks for {module}.{name}, which class locations never need")
