"""Supervoxels of a preprocessed dataset as NIfTI files that open over the original images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from nibabel.openers import ImageOpener
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_supervoxel.errors import NotWritableError, UserError, unexpected
from nnunetv2_supervoxel.export.original_geometry import Box, OriginalGeometry
from nnunetv2_supervoxel.files.aside import check_writable, folder_aside, make_folder, remove_leftovers
from nnunetv2_supervoxel.files.nnunet_folders import read_plans
from nnunetv2_supervoxel.files.preprocessed import PreprocessedDataset, locate_dataset, open_case
from nnunetv2_supervoxel.files.supervoxel_folders import SupervoxelDataset
from nnunetv2_supervoxel.masks.flattening import largest_first, paint
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet
from nnunetv2_supervoxel.progress import ProgressBar
from nnunetv2_supervoxel.quality.reading import read_supervoxels


@dataclass
class Written:
    """What became of the cases.

    Attributes:
        cases: how many files were written.
        empty: how many cases have no supervoxels, and no file.
        vanished: how many supervoxels are too small to have a voxel in the original image.
        failures: by case the reasons why others have no file.
    """

    cases: int = 0
    empty: int = 0
    vanished: int = 0
    failures: dict[str, str] = field(default_factory=dict)


def write_supervoxels(
    found: SupervoxelDataset, output: Path, flatten: bool = False, overwrite: bool = False
) -> Written:
    """Write ``CASE.nii.gz`` in the geometry of the case's original image. One supervoxel is in memory at a time.

    Args:
        found: from `find_supervoxels`.
        output: folder, made if missing.
        flatten: write one label map (x, y, z): supervoxel k (from 1) has value k, and smaller ones lie on top. Else
            one volume per supervoxel: 0 and 1, (x, y, z, n).
        overwrite: replace files that are there.

    Raises:
        NotWritableError: there is no room in the folder, or writing isn't allowed. What was written stays.
        UserError: the dataset can't be read. Never for a single case.
    """
    make_folder(output)
    check_writable(output)
    remove_leftovers(output)
    located = locate_dataset(found.name, found.plans, found.configuration)
    manager = PlansManager(read_plans(found.folder, found.plans, found.configuration))
    written = Written()
    with ProgressBar(found.cases, "to NIfTI", unit="case") as progress:
        for case in progress:
            progress.set_postfix_str(case)
            try:
                path = output / f"{case}.nii.gz"
                if path.exists() and not overwrite:
                    raise UserError(f"{path} is there already; --overwrite replaces it, or choose another folder.")
                supervoxels, geometry = read_case(case, found, located, manager)
                if len(supervoxels):
                    written.vanished += _write(path, supervoxels, geometry, flatten)
                    written.cases += 1
                else:
                    written.empty += 1
            except NotWritableError:  # the next case would fare the same
                raise
            except UserError as error:
                written.failures[case] = str(error)
            except MemoryError:
                written.failures[case] = "it doesn't fit into memory."
            except Exception as error:  # one bad case must not stop the others
                written.failures[case] = unexpected(error)
    return written


def read_case(
    case: str, found: SupervoxelDataset, located: PreprocessedDataset, manager: PlansManager
) -> tuple[SupervoxelSet, OriginalGeometry]:
    """A case's supervoxels and their way back.

    Raises:
        UserError: files are missing or damaged, or don't fit each other.
    """
    image, _, properties = open_case(located.cases, case)
    z, y, x = image.shape[1:]
    geometry = OriginalGeometry(properties, manager, manager.get_configuration(found.configuration), (z, y, x))
    return read_supervoxels(found.supervoxels, case, (z, y, x)), geometry


def _write(path: Path, supervoxels: SupervoxelSet, geometry: OriginalGeometry, flatten: bool) -> int:
    """Write a file, which appears whole; the number of supervoxels that have no voxel in it for their size.

    Raises:
        NotWritableError: there is no room in the folder, or writing isn't allowed.
    """
    vanished: list[int] = []
    masks = bring_all_back(supervoxels, geometry, largest_first(supervoxels) if flatten else None, vanished)
    with folder_aside(path.parent) as aside:
        if flatten:
            _write_stack(aside / path.name, [paint(masks, geometry.shape)], None, geometry)
        else:
            volumes = (whole(mask, place, geometry.shape) for _, mask, place in masks)
            _write_stack(aside / path.name, volumes, len(supervoxels), geometry)
        os.replace(aside / path.name, path)
    return len(vanished)


def bring_all_back(
    supervoxels: SupervoxelSet, geometry: OriginalGeometry, order: Iterable[int] | None, vanished: list[int]
) -> Iterator[tuple[int, np.ndarray, Box]]:
    """Index, mask and place in the original image, see `OriginalGeometry`, of one supervoxel after the other.

    Indices of those that lose all their voxels on the way are added to `vanished`.
    """
    for index in range(len(supervoxels)) if order is None else order:
        supervoxel = supervoxels.supervoxels[index]
        mask, place = geometry.bring_back(supervoxel.mask, supervoxel.slices)
        if supervoxel.voxels and not mask.any():
            vanished.append(index)
        yield index, mask, place


def whole(mask: np.ndarray, place: Box, shape: tuple[int, ...]) -> np.ndarray:
    """The volume, uint8 (z, y, x), of which a mask is a part."""
    volume = np.zeros(shape, np.uint8)
    volume[place] = mask
    return volume


def _write_stack(path: Path, volumes: Iterable[np.ndarray], count: int | None, geometry: OriginalGeometry) -> None:
    """Write volumes (z, y, x) into one file, one after the other, so that there is never more than one in memory.

    Args:
        path: of a .nii.gz file. A second file is written beside it for a while.
        volumes: whole numbers.
        count: how many, the length of the file's fourth axis; None: there is one, and the file has three axes.
        geometry: of the original image.
    """
    with ImageOpener(str(path), "wb") as file:
        for number, volume in enumerate(volumes):
            image = geometry.write(volume, path.with_name("volume.nii"))
            if number == 0:
                header = image.header.copy()
                if count is not None:
                    header.set_data_shape((*(*image.shape, 1)[:3], count))
                    header.set_zooms((*header.get_zooms()[:3], 1.0))
                header.write_to(file)
            file.write(np.asanyarray(image.dataobj).tobytes(order="F"))
