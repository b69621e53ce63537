"""Files that are damaged, foreign, lying or malicious, and what every command must do with them."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import blosc2
import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

SHAPE = (12, 20, 31)  # z, y, x
SPACING = (0.7, 0.9, 2.5)  # x, y, z
CANARY = "canary-that-must-not-hatch"
LONG = "n" * 255

Make = Callable[[Path], object]


@dataclass(frozen=True)
class Done:
    """What a command did: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """All that was printed."""
        return self.out + self.err


def image(shape: tuple[int, ...] = SHAPE, kind: type = np.float32) -> np.ndarray:
    """Three blocks of different brightness, with a little noise."""
    rng = np.random.default_rng(0)
    values = np.floor(3 * np.arange(shape[-1]) / shape[-1]) * 100
    return np.broadcast_to(values, shape).astype(kind) + rng.integers(0, 9, shape).astype(kind)


def write_image(path: Path, array: np.ndarray | None = None, vector: bool = False) -> Path:
    """An image in the format that the path ends in, by default a sound one."""
    array = image() if array is None else array
    if path.name.endswith(".b2nd"):
        blosc2.asarray(np.ascontiguousarray(array), urlpath=str(path), mode="w")
        return path
    written = sitk.GetImageFromArray(array, isVector=vector)
    if written.GetDimension() == 3:
        written.SetSpacing(SPACING)
    sitk.WriteImage(written, str(path), useCompression=True)
    return path


PLANS = {
    "plans_name": "nnUNetPlans",
    "dataset_name": "Dataset994_Bad",
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "original_median_spacing_after_transp": [2.5, 0.9, 0.7],
    "foreground_intensity_properties_per_channel": {"0": {}},
    "configurations": {
        "3d_fullres": {
            "data_identifier": "cases",
            "architecture": {},
            "spacing": [2.5, 0.9, 0.7],
            "patch_size": [8, 16, 16],
            "normalization_schemes": ["ZScoreNormalization"],
            "resampling_fn_data": "resample_data_or_seg_to_shape",
            "resampling_fn_data_kwargs": {"is_seg": False, "order": 3},
            "resampling_fn_seg": "resample_data_or_seg_to_shape",
            "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1},
            "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
            "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1},
        }
    },
}


def write_dataset(folder: Path) -> None:
    """A preprocessed nnU-Net dataset of two cases, whose folder is called "cases"."""
    (folder / "cases").mkdir(parents=True)
    (folder / "nnUNetPlans.json").write_text(json.dumps(PLANS))
    (folder / "dataset.json").write_text(
        json.dumps({"channel_names": {"0": "MR"}, "labels": {"background": 0, "a": 1}})
    )
    for case in ("other", "sound"):
        write_case(folder / "cases", case)


def write_case(folder: Path, case: str, array: np.ndarray | None = None) -> None:
    """A preprocessed case, by default a sound one (1, z, y, x)."""
    array = image()[None] if array is None else array
    labels = (array > 100).astype(np.int8)
    properties = {
        "spacing": [2.5, 0.9, 0.7],
        "shape_before_cropping": array.shape[1:],
        "bbox_used_for_cropping": [[0, size] for size in array.shape[1:]],
        "shape_after_cropping_and_before_resampling": array.shape[1:],
        "class_locations": {1: np.argwhere(labels)},
        "sitk_stuff": {"spacing": SPACING, "origin": (0.0, 0.0, 0.0), "direction": tuple(np.eye(3).ravel())},
    }
    shape = {name: array.shape for name in ("chunks", "blocks", "chunks_seg", "blocks_seg")}
    nnUNetDatasetBlosc2.save_case(array, labels, properties, str(folder / case), **shape)


def truncate(path: Path, share: float = 0.5) -> None:
    """Keep the beginning of a file."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def truncated(name: str, share: float = 0.5) -> Make:
    """An image of which the end is missing."""
    return lambda folder: truncate(write_image(folder / name), share)


def holding(name: str, content: bytes) -> Make:
    """A file of that content."""
    return lambda folder: (folder / name).write_bytes(content)


def with_image(name: str, array: np.ndarray, vector: bool = False) -> Make:
    """An image of these voxels."""
    return lambda folder: write_image(folder / name, array, vector)


def link(name: str, target: str) -> Make:
    """A symbolic link."""
    return lambda folder: (folder / name).symlink_to(target)


def nifti_with(name: str, **fields: object) -> Make:
    """A NIfTI whose header says something else than its voxels do."""

    def make(folder: Path) -> None:
        header = nib.Nifti1Image(image().T, np.eye(4)).header.copy()
        for field, value in fields.items():
            header[field] = value
        content = header.binaryblock + bytes(4) + image().tobytes()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

    return make


def nifti_with_affine(name: str, affine: np.ndarray) -> Make:
    """A NIfTI with these axes."""
    return lambda folder: nib.save(nib.Nifti1Image(image().T, affine), folder / name)


def nrrd(sizes: str, encoding: str = "raw") -> bytes:
    """A NRRD whose header claims these sizes, and little behind it."""
    return (
        f"NRRD0004\ntype: float\ndimension: 3\nsizes: {sizes}\nendian: little\nencoding: {encoding}\n\n".encode()
        + bytes(64)
    )


def meta_image(sizes: str) -> bytes:
    """A MetaImage whose header claims these sizes, and little behind it."""
    lines = (
        "ObjectType = Image",
        "NDims = 3",
        f"DimSize = {sizes}",
        "ElementType = MET_FLOAT",
        "ElementDataFile = LOCAL",
    )
    return "\n".join(lines).encode() + b"\n" + bytes(64)


class _Hatching:
    """Unpickled by `pickle`, it makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.canary),)


def malicious_pickle(canary: Path) -> bytes:
    """A pickle that makes the folder `canary` when it is loaded without care."""
    return pickle.dumps({"class_locations": _Hatching(canary), "network_weights": _Hatching(canary)})


def malicious_checkpoint(canary: Path) -> bytes:
    """The same as torch.save writes it."""
    buffer = io.BytesIO()
    torch.save({"network_weights": _Hatching(canary), "model": _Hatching(canary)}, buffer)
    return buffer.getvalue()


def malicious_array(path: Path, canary: Path) -> None:
    """A Blosc2 array that is a program: versions 3.1 to 4.x of blosc2 run it when they open the file."""
    program = f"def hatch(inputs, output, offset):\n    pass\nnp.save({str(canary)!r}, np.zeros(1))\n"
    operand = path.parent.with_name("operand.b2nd")
    blosc2.asarray(image()[None], urlpath=str(operand), mode="w")
    array = blosc2.empty((1, *SHAPE), np.float32, urlpath=str(path), mode="w", meta={"LazyArray": 1})
    array.schunk.vlmeta["_LazyArray"] = {"UDF": program, "operands": {"o0": f"../{operand.name}"}, "name": "hatch"}


def pickled_npy(canary: Path) -> bytes:
    """A .npy of objects, which NumPy unpickles only if it is allowed to."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([_Hatching(canary)], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def safetensors(header: bytes, length: int | None = None) -> bytes:
    """A safetensors file whose header is this, and claims that length."""
    return struct.pack("<Q", len(header) if length is None else length) + header


def zipped(name: str, content: bytes) -> bytes:
    """A zip archive of one file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()
