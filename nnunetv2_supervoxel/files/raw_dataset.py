"""A raw nnU-Net dataset of images that nobody has labelled."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files.aside import check_name, folder_aside, make_folder, remove_leftovers
from nnunetv2_supervoxel.files.image_folders import NNUNET_ENDINGS, find_images
from nnunetv2_supervoxel.files.nnunet_folders import environment_folder
from nnunetv2_supervoxel.progress import ProgressBar

IGNORE = 2  # the label for unknown; nnU-Net wants at least one other label below it
NOTHING_LABELLED = {"background": 0, "object": 1, "ignore": IGNORE}  # in dataset.json, of images that nobody labelled

Channels = list[tuple[int, Path]]  # of one case: number and file of each


def import_images(folder: Path, dataset_id: int, name: str = "Unlabelled") -> tuple[Path, int, dict[str, str]]:
    """Make ``nnUNet_raw/DatasetXXX_NAME`` of a folder of 3D images: links, label files, dataset.json.

    nnU-Net wants labels, and its fingerprint wants some that are not 0. Every voxel of these labels says "ignore",
    nnU-Net's word for unknown. The channel is called "image", so that nnU-Net z-scores it, as nnInteractive's session
    does. Normalisation by dataset statistics ("CT") would need labelled voxels.

    Args:
        folder: 3D images, all with one ending. There is one per case, or CASE_0000, CASE_0001, ... are the channels of
            a case, as in nnU-Net. Cases with another number of channels than most are left out.
        dataset_id: 1 to 999, not in use yet.
        name: of the dataset.

    Returns:
        The dataset's folder, the number of cases, and why others are left out.

    Raises:
        UserError: there are no images, or images with several endings; the ID is in use; the name can't be one; no
            case can be taken; or nothing can be written.
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise UserError(f"'{name}' can't be a dataset's name: letters, digits, _ and - can.")
    raw = environment_folder("nnUNet_raw")
    images = find_images(folder, NNUNET_ENDINGS)
    ending = _only_ending(folder, images)
    if taken := sorted(raw.glob(f"Dataset{dataset_id:03d}_*")):
        raise UserError(f"{taken[0]} has the number {dataset_id} already; take another with -d, or remove that folder.")
    target = raw / f"Dataset{dataset_id:03d}_{name}"
    check_name(target)
    make_folder(raw)
    remove_leftovers(raw)
    with folder_aside(raw) as aside:
        aside.chmod(0o755)
        cases = _channels_of({name: path for name, (path, _) in images.items()})
        done, failures = _write_dataset(aside, cases, ending, target.name)
        aside.rename(target)
    return target, done, failures


def _only_ending(folder: Path, images: dict[str, tuple[Path, str]]) -> str:
    endings = Counter(ending for _, ending in images.values())
    if len(endings) > 1:
        counted = ", ".join(f"{count} {ending}" for ending, count in endings.most_common())
        raise UserError(f"{folder} holds images with several endings ({counted}); nnU-Net takes one per dataset.")
    (ending,) = endings
    return ending


def _write_dataset(folder: Path, cases: dict[str, Channels], ending: str, title: str) -> tuple[int, dict[str, str]]:
    """Links, label files and dataset.json in an empty folder; the number of cases, and why others are left out."""
    failures: dict[str, str] = {}
    reader = "SimpleITKIO"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir()
    channels = Counter(len(files) for files in cases.values()).most_common(1)[0][0]
    for case, files in ProgressBar(cases.items(), desc=title, unit="case"):
        try:
            _check_ending(case)
            check_name(folder / "imagesTr" / f"{case}_0000{ending}")
            _check_channels(files, channels)
            if not _write_unknown_label([path for _, path in files], folder / "labelsTr" / f"{case}{ending}"):
                reader = "NibabelIO"
            for channel, path in files:
                os.symlink(path.resolve(), folder / "imagesTr" / f"{case}_{channel:04d}{ending}")
        except UserError as error:
            failures[case] = str(error)
    done = len(cases) - len(failures)
    if not done:
        raise UserError(f"Not one case can be taken: {next(iter(failures.values()))}")
    (folder / "dataset.json").write_text(json.dumps(_description(done, channels, ending, reader), indent=1) + "\n")
    return done, failures


def _channels_of(images: dict[str, Path]) -> dict[str, Channels]:
    """The channels of every case. CASE_0001 is a channel of CASE if there is a CASE_0000, else a case by itself."""
    cases: dict[str, Channels] = {}
    for name, path in images.items():
        numbered = re.fullmatch(r"(.+)_(\d{4})", name)
        if numbered and f"{numbered[1]}_0000" in images:
            cases.setdefault(numbered[1], []).append((int(numbered[2]), path))
        else:
            cases.setdefault(name, []).append((0, path))
    return cases


def _check_ending(case: str) -> None:
    if case.endswith("_seg"):
        raise UserError(
            "nnU-Net takes preprocessed files that end in _seg for segmentations, so that this case would be lost, and "
            f"could replace that of '{case.removesuffix('_seg')}'; rename the image, or leave it out."
        )


def _check_channels(files: Channels, channels: int) -> None:
    numbers = [number for number, _ in files]
    if numbers != list(range(channels)):
        names = ", ".join(path.name for _, path in files)
        raise UserError(
            f"its images ({names}) are channel {', '.join(map(str, numbers))}, but most cases have "
            f"{', '.join(map(str, range(channels)))}."
        )


def _write_unknown_label(images: list[Path], label: Path) -> bool:
    """A label of IGNORE alone, with the geometry of a case's images. These are read to see that they are whole.

    Returns:
        Whether nnU-Net can read the images through SimpleITK.
    """
    import SimpleITK as sitk  # noqa: N813 (here: a wrong folder is reported without it)

    from nnunetv2_supervoxel.files.image_writing import write_sitk
    from nnunetv2_supervoxel.files.nibabel_images import was_read_with_nibabel
    from nnunetv2_supervoxel.files.volumes import read_channels

    channels = read_channels(images)
    unknown = sitk.Image(channels[0].GetSize(), sitk.sitkUInt8) + IGNORE
    unknown.CopyInformation(channels[0])
    write_sitk(unknown, label)
    return not any(was_read_with_nibabel(channel) for channel in channels)


def _description(cases: int, channels: int, ending: str, reader: str) -> dict:
    names = ["image"] if channels == 1 else [f"image_{channel}" for channel in range(channels)]
    return {
        "channel_names": {str(channel): name for channel, name in enumerate(names)},
        "labels": NOTHING_LABELLED,
        "numTraining": cases,
        "file_ending": ending,
        "overwrite_image_reader_writer": reader,
    }
