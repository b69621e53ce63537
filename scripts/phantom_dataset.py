"""Phantoms as an nnU-Net dataset, and their true objects in place of supervoxels: for benchmarks and trainings."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from benchmarking.nnunet import run, set_environment
from nnunetv2.utilities.dataset_name_id_conversion import convert_dataset_name_to_id

from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet
from nnunetv2_supervoxel.phantoms import make_phantom


def preprocess_phantoms(folder: Path, dataset: str, shape: tuple[int, int, int], cases: int) -> Path:
    """Make a dataset of phantoms once, and let nnU-Net's command preprocess it; the dataset's preprocessed folder.

    Args:
        folder: for nnU-Net's three folders, which are put into the environment.
        dataset: "DatasetXXX_NAME".
        shape: of every volume, (z, y, x) in voxels.
        cases: how many volumes.

    Raises:
        SystemExit: the folder holds this dataset with other volumes.
    """
    set_environment(folder)
    preprocessed = Path(os.environ["nnUNet_preprocessed"]) / dataset
    asked, made = folder / f"{dataset}.json", {"shape": list(shape), "cases": cases}
    if not asked.is_file() or json.loads(asked.read_text()) != made:
        if preprocessed.exists():
            raise SystemExit(f"{preprocessed} holds a dataset of other volumes; give another --folder, or remove it.")
        write_raw(Path(os.environ["nnUNet_raw"]) / dataset, shape, range(cases))
        number = convert_dataset_name_to_id(dataset)
        run("nnUNetv2_plan_and_preprocess", "-d", number, "-c", "3d_fullres", "-np", 2, "-npfp", 2)
        asked.write_text(json.dumps(made))
    return preprocessed


def write_raw(
    folder: Path, shape: tuple[int, int, int], seeds: Sequence[int], spacing: tuple[float, float, float] = (1, 1, 1)
) -> None:
    """Write a raw dataset, one phantom for each seed. Its label says where anything is, since nnU-Net wants a label.

    Args:
        folder: `nnUNet_raw/DatasetXXX_NAME`.
        shape: of every volume, (z, y, x) in voxels.
        seeds: of the phantoms.
        spacing: voxel size (z, y, x) in mm.
    """
    for seed in seeds:
        phantom = make_phantom(shape, np.random.default_rng(seed))
        write_raw_case(folder, case_name(seed), phantom.image, (phantom.labels > 0).astype(np.uint8), spacing)
    describe_raw(folder, ("anything",), len(seeds))


def write_raw_case(
    folder: Path, case: str, image: np.ndarray, labels: np.ndarray, spacing: tuple[float, float, float] = (1, 1, 1)
) -> None:
    """Write the image and the label map (z, y, x) of a case into the raw dataset's folder, which is made if missing."""
    for name, array in ((f"imagesTr/{case}_0000", image), (f"labelsTr/{case}", labels)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        written = sitk.GetImageFromArray(array)
        written.SetSpacing([float(size) for size in spacing[::-1]])
        sitk.WriteImage(written, str(folder / f"{name}.nii.gz"))


def describe_raw(folder: Path, labels: Sequence[str], cases: int) -> None:
    """Write a raw dataset's dataset.json; labels count from 1."""
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, **{name: number for number, name in enumerate(labels, 1)}},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def store_true_objects(
    folder: Path,
    shape: tuple[int, int, int],
    seeds: Iterable[int],
    patch_size: Sequence[int],
    sizes: tuple[int, float] = (1, np.inf),
) -> None:
    """Store every visible region of the phantoms as a supervoxel.

    Args:
        folder: the supervoxels' folder.
        shape: of the volumes, as given to `write_raw`; `seeds` likewise.
        seeds: of the phantoms.
        patch_size: training patch (z, y, x) in voxels.
        sizes: least and most voxels. Smaller and larger regions are left out.
    """
    for seed in seeds:
        labels = make_phantom(shape, np.random.default_rng(seed)).labels
        objects = SupervoxelSet.of_labels(labels, *sizes)
        if len(objects):
            made_by = {"made by": "scripts/phantom_dataset.py, true objects"}
            supervoxel_files.write_case(folder, case_name(seed), objects, made_by, patch_size)


def case_name(seed: int) -> str:
    """The case identifier of the phantom with this seed."""
    return f"phantom{seed:06d}"
