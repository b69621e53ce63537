"""A raw nnU-Net dataset of images that nobody has labelled."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import SimpleITK as sitk  # noqa: N813
from nnunetv2.paths import nnUNet_raw
from tqdm import tqdm

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.volumes import find_images, read_sitk

# Of 3D images in a single file, which nnU-Net reads through SimpleITK.
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".gipl")
IGNORE = 2  # nnU-Net wants it after at least one label


def import_images(folder: Path, dataset_id: int, name: str = "Unlabelled") -> tuple[Path, int, dict[str, str]]:
    """Make ``nnUNet_raw/DatasetXXX_NAME`` of a folder of 3D images: links, label files, dataset.json.

    nnU-Net wants labels, and its fingerprint some that are not 0; these say "ignore", its word for unknown, everywhere.
    Its channel is called "image", which nnU-Net z-scores: normalisation by dataset statistics ("CT") needs labelled
    voxels, and nnInteractive's session z-scores too.

    Args:
        folder: one image per case, all with one ending; a trailing _0000 is not part of the case's name.
        dataset_id: 1 to 999, not in use yet.
        name: of the dataset.

    Returns:
        The dataset's folder, the number of cases, and why others are left out.

    Raises:
        UserError: no images, images of several endings, an ID in use, or no image that can be taken.
    """
    if not nnUNet_raw.is_set():
        raise UserError("The environment variable nnUNet_raw is not set; export the folder's path.")
    images = find_images(folder, ENDINGS)
    endings = Counter(ending for _, ending in images.values())
    if len(endings) > 1:
        counted = ", ".join(f"{count} {ending}" for ending, count in endings.most_common())
        raise UserError(f"{folder} holds images with several endings ({counted}); nnU-Net takes one per dataset.")
    (ending,) = endings
    raw = Path(nnUNet_raw)
    if taken := sorted(raw.glob(f"Dataset{dataset_id:03d}_*")):
        raise UserError(f"{taken[0]} has the number {dataset_id} already; take another with -d.")
    raw.mkdir(parents=True, exist_ok=True)
    target = raw / f"Dataset{dataset_id:03d}_{name}"
    aside = Path(tempfile.mkdtemp(prefix=".importing-", dir=raw))
    try:
        aside.chmod(0o755)
        failures = {}
        for part in ("imagesTr", "labelsTr"):
            (aside / part).mkdir()
        for case, (path, _) in tqdm(images.items(), desc=target.name, unit="case"):
            case = case.removesuffix("_0000")
            try:
                _write_unknown_label(path, aside / "labelsTr" / f"{case}{ending}")
                os.symlink(path.resolve(), aside / "imagesTr" / f"{case}_0000{ending}")
            except UserError as error:
                failures[case] = str(error)
        done = len(images) - len(failures)
        if not done:
            raise UserError(f"Not one image can be taken: {next(iter(failures.values()))}")
        (aside / "dataset.json").write_text(json.dumps(_description(done, ending), indent=1) + "\n")
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target, done, failures


def _write_unknown_label(image: Path, label: Path) -> None:
    """IGNORE with the geometry of an image, whose voxels are read only to see that they are all there."""
    if label.exists():
        raise UserError(f"{image} and another image are the same case for nnU-Net; rename one of them.")
    read = read_sitk(image)
    if read.GetDimension() != 3 or read.GetNumberOfComponentsPerPixel() != 1:
        raise UserError(
            f"{image} has {read.GetDimension()} dimensions and {read.GetNumberOfComponentsPerPixel()} component(s) per "
            "voxel; a 3D image with one value per voxel is needed."
        )
    unknown = sitk.Image(read.GetSize(), sitk.sitkUInt8) + IGNORE
    unknown.CopyInformation(read)
    sitk.WriteImage(unknown, str(label), useCompression=True)


def _description(cases: int, ending: str) -> dict:
    return {
        "channel_names": {"0": "image"},
        "labels": {"background": 0, "object": 1, "ignore": IGNORE},
        "numTraining": cases,
        "file_ending": ending,
        "overwrite_image_reader_writer": "SimpleITKIO",
    }
