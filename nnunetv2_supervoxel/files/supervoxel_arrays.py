"""The masks of one case in one file: a Blosc2 array (n, z, y, x), or a 4D image."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import IO

import blosc2
import numpy as np
import SimpleITK as sitk  # noqa: N813
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params

from nnunetv2_supervoxel.errors import UserError, generate_again
from nnunetv2_supervoxel.files.blosc2_arrays import open_blosc2
from nnunetv2_supervoxel.files.image_writing import NIFTI_HEADER, write_sitk
from nnunetv2_supervoxel.files.volumes import Header
from nnunetv2_supervoxel.masks.boxes import bounding_box
from nnunetv2_supervoxel.masks.packed_masks import PackedMask
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet

# Supervoxels are small. With small chunks, most chunks hold only zeros, which cost no space and no time.
_MAX_CHUNK_BYTES = 512 * 1024
_NIFTI_SIZES = 42  # where x, y and z stand in it
_NIFTI_LONGEST = 32767  # voxels along an axis


def open_array(path: Path) -> blosc2.NDArray:
    """A case's supervoxels, opened lazily: uint8 (n, z, y, x). Index it to read just a patch of one supervoxel.

    Raises:
        UserError: the file is missing, truncated, or not a 4D uint8 array.
    """
    try:
        array = open_blosc2(path)
    except Exception as error:
        raise UserError(f"{path} can't be opened: it is missing or damaged; {generate_again(path.stem)}") from error
    if array.ndim != 4 or array.dtype != np.uint8:
        raise UserError(f"{path} isn't a 4D uint8 array (n, z, y, x); {generate_again(path.stem)}")
    return array


def read_values(array: blosc2.NDArray) -> Iterator[tuple[np.ndarray, tuple[int, ...]]]:
    """Every supervoxel of an array, read from no more than the box of its occupied chunks.

    Yields:
        What is in the box, uint8 (z, y, x), and the voxel index (z, y, x) at which the box begins. The box of an empty
        supervoxel is empty.
    """
    occupied = _occupied_chunks(array)
    for channel in range(array.shape[0]):
        chunks = bounding_box(occupied[channel // array.chunks[0]]) or (slice(0, 0),) * 3
        box = [slice(s.start * length, s.stop * length) for s, length in zip(chunks, array.chunks[1:], strict=True)]
        yield array[(channel, *box)], tuple(s.start for s in box)


def read_masks(array: blosc2.NDArray) -> Iterator[tuple[PackedMask, tuple[int, ...]]]:
    """The same as masks, which are True where a value isn't 0."""
    for values, origin in read_values(array):
        yield PackedMask.of(values > 0), origin


def write_array(path: Path, supervoxels: SupervoxelSet, patch_size: Sequence[int]) -> None:
    """Write a Blosc2 array whose chunks fit the training patch: (z, y, x) in voxels, or (y, x)."""
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


def write_image(path: Path, supervoxels: SupervoxelSet, header: Header | None) -> None:
    """Write a 4D image (x, y, z, n) with the geometry of the input, or SimpleITK's default without a header.

    As NIfTI, one supervoxel is in memory at a time; in other formats all are.

    Raises:
        UserError: NIfTI can't hold as many voxels along an axis.
    """
    if path.name.endswith((".nii", ".nii.gz")):
        _write_nifti(path, supervoxels, header)
    else:
        write_sitk(_image(supervoxels.to_array(), header), path)


def _image(array: np.ndarray, header: Header | None) -> sitk.Image:
    image = sitk.GetImageFromArray(array, isVector=False)
    if header is not None:
        direction = np.eye(4)
        direction[:3, :3] = np.reshape(header.direction, (3, 3))
        image.SetSpacing((*header.spacing, 1.0))
        image.SetOrigin((*header.origin, 0.0))
        image.SetDirection(direction.ravel().tolist())
    return image


def _write_nifti(path: Path, supervoxels: SupervoxelSet, header: Header | None) -> None:
    """The header is that of an image with as many volumes, but few voxels in each; only their numbers differ."""
    if max(supervoxels.shape) > _NIFTI_LONGEST:
        raise UserError(
            f"it has {max(supervoxels.shape)} voxels along an axis, and NIfTI holds {_NIFTI_LONGEST} at most; convert "
            "the image to .nrrd or .mha, whose supervoxels are written in the same format."
        )
    few = path.with_name(".few_voxels.nii")
    sizes = [min(size, 2) for size in supervoxels.shape]
    write_sitk(_image(np.zeros((len(supervoxels), *sizes), np.uint8), header), few)
    start = bytearray(few.read_bytes()[:NIFTI_HEADER])
    few.unlink()
    struct.pack_into("=3h", start, _NIFTI_SIZES, *supervoxels.shape[::-1])
    with open(path, "wb") as file, _gzipped(file) if path.suffix == ".gz" else nullcontext(file) as target:
        target.write(start)
        for supervoxel in supervoxels.supervoxels:
            target.write(replace(supervoxels, supervoxels=(supervoxel,)).to_array().data)


def _gzipped(file: IO[bytes]) -> gzip.GzipFile:
    """Without name and date, so that the same voxels give the same bytes."""
    return gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0)


def _occupied_chunks(array: blosc2.NDArray) -> np.ndarray:
    """Boolean, one entry per chunk in the array's grid of chunks: False where Blosc2 notes that all of it is zero."""
    grid = [-(-size // chunk) for size, chunk in zip(array.shape, array.chunks, strict=True)]
    zero = [info.special == blosc2.SpecialValue.ZERO for info in array.schunk.iterchunks_info()]
    return ~np.reshape(zero, grid)
