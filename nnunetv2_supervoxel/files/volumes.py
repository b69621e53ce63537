"""Reading images: any format that SimpleITK knows, and Blosc2 arrays."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import blosc2
import numpy as np
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files.blosc2_arrays import open_blosc2
from nnunetv2_supervoxel.files.nibabel_images import read_with_nibabel

Normalisation = tuple[float, float]
"""Mean and standard deviation by which a channel was normalised: what is stored is (value - mean) / deviation."""

# They go past Python to the terminal, and speak of addresses in memory and lines of C++.
sitk.ProcessObject.GlobalWarningDisplayOff()

NOT_NORMALISED: Normalisation = (0.0, 1.0)


@dataclass(frozen=True, eq=False)
class Volume:
    """An image as generation wants it.

    Attributes:
        array: (c, z, y, x), the channels that the models see.
        spacing: voxel size (z, y, x) in mm.
        source: the file it came from.
        header: geometry of the file; None for Blosc2 arrays and nnU-Net's own files.
        normalised: how each channel was normalised; None if that isn't known.
    """

    array: np.ndarray
    spacing: tuple[float, float, float]
    source: Path
    header: Header | None = None
    normalised: tuple[Normalisation, ...] | None = None


@dataclass(frozen=True)
class Header:
    """Geometry of a 3D SimpleITK image: everything in ITK's (x, y, z) order."""

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]


def read_image(path: Path, channels: Sequence[int]) -> Volume:
    """A 2D, 3D or 4D image, scalar or with several components, or a Blosc2 array (c, z, y, x) or (z, y, x).

    2D images become one slice; the fourth axis and the components become channels.

    Raises:
        UserError: the file is missing or damaged, is no such image, or has too few channels.
    """
    if path.suffix == ".b2nd":
        return _read_blosc2(path, channels)
    image = read_sitk(path)
    array = sitk.GetArrayViewFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0)
    elif image.GetDimension() < 4:
        array = array[None]
    if image.GetDimension() == 2:
        array = array[:, None]
    if array.ndim != 4:
        raise UserError(f"{path} has {image.GetDimension()} dimensions; 2, 3 or 4 can be read.")
    if np.iscomplexobj(array):
        raise UserError(f"{path} holds complex numbers; take its magnitude first.")
    header = _header(image)
    x, y, z = header.spacing
    return Volume(take_channels(array, channels, path), (z, y, x), path, header, (NOT_NORMALISED,) * len(channels))


def read_sitk(path: Path) -> sitk.Image:
    """An image in any format that SimpleITK or, for NIfTI and MGZ, nibabel knows.

    Raises:
        UserError: the file is no image, is damaged, or is sheared. That voxels are missing is checked here for NIfTI
            and GIPL: if such a file is truncated, ITK gives zeros for them.
    """
    _check_is_file(path)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        other = read_with_nibabel(path)
        if other is None:
            raise UserError(f"{path} can't be read as an image: {_why_unreadable(path)}.") from error
        _check_header(other, path)
        return other
    _check_header(image, path)
    needed = voxel_bytes(image)
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        needed += int(float(image.GetMetaData("vox_offset")))
    elif name.endswith((".gipl", ".gipl.gz")):
        needed += 256  # its header
    if name.endswith((".nii", ".gipl", ".gz")) and count_bytes(path) < needed:
        raise UserError(f"{path} is damaged: not all of its voxels are there; copy or download it again.")
    return image


def read_channels(paths: Sequence[Path]) -> list[sitk.Image]:
    """The channels of one case, each a file.

    Raises:
        UserError: one can't be read, isn't 3D with one value per voxel, or has another size than the first.
    """
    images = [read_sitk(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
            raise UserError(
                f"{path} has {image.GetDimension()} dimensions and {image.GetNumberOfComponentsPerPixel()} "
                "component(s) per voxel; a 3D image with one value per voxel is needed."
            )
        if image.GetSize() != images[0].GetSize():
            raise UserError(f"{path} and {paths[0]} have different sizes, but are channels of one case.")
    return images


def voxel_bytes(image: sitk.Image) -> int:
    """How many bytes the image's voxels take up in memory."""
    return image.GetNumberOfPixels() * image.GetNumberOfComponentsPerPixel() * image.GetSizeOfPixelComponent()


def count_bytes(path: Path) -> int:
    """Length of a file, uncompressed if it is gzipped; 0 if the compressed data are damaged."""
    if path.suffix.lower() != ".gz":
        return path.stat().st_size
    count = 0
    try:
        with gzip.open(path) as stream:
            while block := stream.read(1 << 20):
                count += len(block)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return 0
    return count


def _why_unreadable(path: Path) -> str:
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        return f"{(error.strerror or str(error)).lower()}"
    if empty:
        return "the file is empty; copy or download it again"
    return "it is damaged, or in a format that isn't known here; copy it again, or convert it"


def _check_is_file(path: Path) -> None:
    """Refuse what reading would fail on, or wait for without end."""
    if path.is_symlink() and not path.exists():
        raise UserError(f"{path} is a link to a file that isn't there: {path.readlink()}.")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is a folder, a pipe or a device, not a file with an image.")


def _check_header(image: sitk.Image, path: Path) -> None:
    """Refuse what ITK takes from a header: no voxels, more than can be counted, or a geometry that is none."""
    size = image.GetSize()
    if not 0 < math.prod(size) == image.GetNumberOfPixels():
        raise UserError(f"{path} is damaged: its header says that the size is {size}; copy or download it again.")
    if not np.isfinite([*image.GetSpacing(), *image.GetOrigin(), *image.GetDirection()]).all():
        raise UserError(f"{path} has a header with a spacing, origin or direction that is no number; correct it.")


def _read_blosc2(path: Path, channels: Sequence[int]) -> Volume:
    _check_is_file(path)
    try:
        data = open_blosc2(path)
        if data.ndim not in (3, 4):
            raise UserError(f"{path} has {data.ndim} dimensions; (c, z, y, x) or (z, y, x) was expected.")
        array = take_channels(data if data.ndim == 4 else data[:][None], channels, path)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} can't be read as a Blosc2 array: {_why_unreadable(path)}.") from error
    return Volume(array, (1.0, 1.0, 1.0), path, normalised=(NOT_NORMALISED,) * len(channels))


def take_channels(data: np.ndarray | blosc2.NDArray, channels: Sequence[int], source: Path) -> np.ndarray:
    """Copy of the wanted channels: (c, z, y, x).

    Args:
        data: (all channels, z, y, x).
        channels: which of them.
        source: the file it came from, for the message.

    Raises:
        UserError: there are fewer channels.
    """
    if max(channels) >= data.shape[0]:
        raise UserError(
            f"{source} has {data.shape[0]} channel(s), so channel {max(channels)} of the config doesn't exist "
            "(counting starts at 0)."
        )
    taken = np.empty((len(channels), *data.shape[1:]), data.dtype)
    # Compressed arrays are read chunk by chunk: a channel as a whole would be in memory twice.
    step = max(1, getattr(data, "chunks", data.shape)[1])
    for channel, target in zip(channels, taken, strict=True):
        for start in range(0, len(target), step):
            target[start : start + step] = data[channel, start : start + step]
    return taken


def _header(image: sitk.Image) -> Header:
    """The geometry of the first three axes; a missing third one is added with 1 mm."""
    dimension = image.GetDimension()
    direction = np.eye(max(3, dimension))
    direction[:dimension, :dimension] = np.reshape(image.GetDirection(), (dimension, dimension))
    spacing, origin = (*image.GetSpacing(), 1.0), (*image.GetOrigin(), 0.0)
    return Header(spacing[:3], origin[:3], tuple(direction[:3, :3].ravel().tolist()))
