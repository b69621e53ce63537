"""Folders of images: which files are cases. This module imports nothing heavy, so that mistakes show at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files.aside import check_name

# Formats that nnU-Net reads through SimpleITK, with a 3D image in a single file.
NNUNET_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".gipl")


def images_to_generate(images: Path, output: Path, config: GenerationConfig) -> dict[str, tuple[Path, str]]:
    """The images of a folder whose supervoxels go into another one; see `find_images`.

    Args:
        images: folder.
        output: folder for the supervoxels.
        config: its `file_format` and `excluded_strings` say which files are images.

    Raises:
        UserError: both folders are the same, or there are no images.
    """
    check_apart(images, output, "Supervoxels")
    return find_images(images, config.file_format, config.excluded_strings, "set file_format in the config")


def find_arrays(folder: Path) -> list[str]:
    """Names of the cases in a folder that have a supervoxel array, sorted.

    Raises:
        UserError: there is no such folder, or no array in it.
    """
    return list(find_images(folder, (".b2nd",), remedy="generate supervoxels first"))


def check_apart(images: Path, output: Path, results: str) -> None:
    """Refuse a folder for results, which the message calls by that word.

    Raises:
        UserError: they would be written among the images, or its name is too long.
    """
    check_name(output)
    if os.path.realpath(images) == os.path.realpath(output):
        raise UserError(f"{results} in {output} would replace the images there; choose another folder for the output.")


def find_images(
    folder: Path, endings: Sequence[str], excluded: Sequence[str] = (), remedy: str = "bring files that do"
) -> dict[str, tuple[Path, str]]:
    """Images by case name, sorted, each with the ending that it matched.

    Args:
        folder: not searched below. Hidden files are passed over, as macOS leaves them beside others. A link to a file
            that isn't there counts, so that its case is reported when it is read.
        endings: what file names may end in, upper case or lower.
        excluded: files with any of these in their name are passed over.
        remedy: what a user should do if nothing is found.

    Raises:
        UserError: there is no such folder, no image in it, two that differ in their ending alone, or one whose name
            isn't text.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    found: dict[str, tuple[Path, str]] = {}
    for path in sorted(folder.iterdir()):
        ending = next((e for e in endings if path.name.lower().endswith(e.lower())), None)
        if ending is None or path.name.startswith(".") or path.is_dir() or any(part in path.name for part in excluded):
            continue
        if any("\ud800" <= letter <= "\udfff" for letter in path.name):  # ITK ends the process for such a name
            raise UserError(f"The name {path.name!a} in {folder} isn't UTF-8; rename the file.")
        name = path.name[: -len(ending)]
        if name in found:
            raise UserError(f"{path} and {found[name][0]} would have the same name in the output; keep one of them.")
        found[name] = path, ending
    if not found:
        without = f" and contains none of {', '.join(excluded)}" if excluded else ""
        raise UserError(f"{folder} holds no file that ends with {' or '.join(endings)}{without}; {remedy}.")
    return found
