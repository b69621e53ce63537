"""Phantoms as an nnU-Net dataset, and their true objects in place of supervoxels: for benchmarks and trainings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet
from nnunetv2_supervoxel.phantoms import make_phantom


def write_raw(
    folder: Path, shape: tuple[int, int, int], seeds: Sequence[int], spacing: tuple[float, float, float] = (1, 1, 1)
) -> None:
    """A raw dataset, one phantom for each seed; its label says where anything is, for nnU-Net wants one.

    Args:
        folder: `nnUNet_raw/DatasetXXX_NAME`.
        shape: of every volume, (z, y, x) in voxels.
        seeds: of the phantoms.
        spacing: voxel size (z, y, x) in mm.
    """
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        phantom = make_phantom(shape, np.random.default_rng(seed))
        anything = (phantom.labels > 0).astype(np.uint8)
        for name, array in (
            (f"imagesTr/{case_name(seed)}_0000", phantom.image),
            (f"labelsTr/{case_name(seed)}", anything),
        ):
            image = sitk.GetImageFromArray(array)
            image.SetSpacing([float(size) for size in spacing[::-1]])
            sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "anything": 1},
        "numTraining": len(seeds),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def store_true_objects(
    folder: Path,
    shape: tuple[int, int, int],
    seeds: Iterable[int],
    patch_size: Sequence[int],
    sizes: tuple[float, float] = (1, np.inf),
) -> None:
    """Store every visible region of the phantoms as a supervoxel.

    Args:
        folder: the supervoxels' folder.
        shape: of the volumes, as given to `write_raw`; `seeds` likewise.
        seeds: of the phantoms.
        patch_size: training patch (z, y, x) in voxels.
        sizes: least and most voxels; smaller and larger regions are left out.
    """
    for seed in seeds:
        labels = make_phantom(shape, np.random.default_rng(seed)).labels
        objects = SupervoxelSet.of_labels(labels, *sizes)
        if len(objects):
            made_by = {"made by": "scripts/phantom_dataset.py, true objects"}
            supervoxel_files.write_case(folder, case_name(seed), objects, made_by, patch_size)


def case_name(seed: int) -> str:
    """Case identifier of a phantom."""
    return f"phantom{seed:06d}"
