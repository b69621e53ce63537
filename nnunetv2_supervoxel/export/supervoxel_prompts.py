"""Supervoxels as prompts: where their masks come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.original_geometry import OriginalGeometry
from nnunetv2_supervoxel.export.prompt_file import MaskPrompt, Prompt, Space
from nnunetv2_supervoxel.export.prompt_masks import list_labels
from nnunetv2_supervoxel.export.to_nifti import read_case, whole
from nnunetv2_supervoxel.files.image_folders import NNUNET_ENDINGS, find_images
from nnunetv2_supervoxel.files.nnunet_folders import read_plans
from nnunetv2_supervoxel.files.preprocessed import locate_dataset
from nnunetv2_supervoxel.files.supervoxel_folders import SupervoxelDataset
from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel


class SupervoxelsOfDataset:
    """Those of a preprocessed dataset, brought back to its original images.

    Args:
        found: from `find_supervoxels`.

    Raises:
        UserError: the dataset can't be read.
    """

    space: Space = "voxel"
    total = None

    def __init__(self, found: SupervoxelDataset) -> None:
        self._found = found
        self._located = locate_dataset(found.name, found.plans, found.configuration)
        self._manager = PlansManager(read_plans(found.folder, found.plans, found.configuration))

    def list_cases(self, images: Mapping[str, object]) -> list[str]:
        """See `PromptSource`: those with an image."""
        return _with_image(self._found.cases, images, self._found.supervoxels)

    def objects(self, case: str) -> dict[str, Callable[[Path], list[Prompt]]]:
        """See `PromptSource`: supervoxel1, supervoxel2, ..."""
        supervoxels, geometry = read_case(case, self._found, self._located, self._manager)
        names = _names(list(range(1, len(supervoxels) + 1)))
        return {
            name: partial(_brought_back, supervoxel, geometry)
            for name, supervoxel in zip(names, supervoxels.supervoxels, strict=True)
        }


class SupervoxelsInFolder:
    """Those in a folder of images: 4D, one volume per supervoxel, or label maps.

    Args:
        folder: as SuperVoxel_generate and nnUNetv2_supervoxel_to_nifti write it.

    Raises:
        UserError: there is no image in it.
    """

    space: Space = "voxel"
    total = None

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = find_images(folder, NNUNET_ENDINGS)

    def list_cases(self, images: Mapping[str, object]) -> list[str]:
        """See `PromptSource`: those with an image."""
        return _with_image(self._files, images, self._folder)

    def objects(self, case: str) -> dict[str, Callable[[Path], list[Prompt]]]:
        """See `PromptSource`: supervoxel1, supervoxel2, ..., with the label or the number of the volume."""
        path, _ = self._files[case]
        labels = list_labels(path)
        return {name: partial(_in_file, path, label) for name, label in zip(_names(labels), labels, strict=True)}


def _brought_back(supervoxel: Supervoxel, geometry: OriginalGeometry, scratch: Path) -> list[Prompt]:
    """The prompts of a supervoxel on the preprocessed grid. Its mask is written to a folder.

    Raises:
        UserError: it has no voxel in the original image, or that was in a format without a geometry.
    """
    mask, place = geometry.bring_back(supervoxel.mask, supervoxel.slices)
    if not mask.any():
        raise UserError("it is too small to have a voxel in the original image")
    geometry.write(whole(mask, place, geometry.shape), scratch / "mask.nii")
    return [MaskPrompt(type="mask", file=scratch / "mask.nii")]


def _in_file(path: Path, label: int, _: Path) -> list[Prompt]:
    return [MaskPrompt(type="mask", file=path, label=label)]


def _names(labels: list[int]) -> list[str]:
    """Names of supervoxels that sort as their labels do."""
    width = len(str(max(labels, default=0)))
    return [f"supervoxel{label:0{width}d}" for label in labels]


def _with_image(cases: Iterable[str], images: Mapping[str, object], supervoxels: Path) -> list[str]:
    """The cases of which there are images.

    Raises:
        UserError: there are none.
    """
    there = [case for case in cases if case in images or f"{case}_0000" in images]
    if not there:
        raise UserError(
            f"None of the cases with supervoxels in {supervoxels} has an image; "
            f"images are called as the cases there, for example '{next(iter(cases))}'."
        )
    return there
