"""Where a dataset's supervoxels lie, and which cases have some. This module imports nothing heavy, so that mistakes
show at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nnunetv2_supervoxel.errors import UserError, check_cases
from nnunetv2_supervoxel.files.nnunet_folders import data_identifier, dataset_folder, read_plans

FOLDER_SUFFIX = "_supervoxels"
ARRAY_ENDING = ".b2nd"
PROVENANCE_ENDING = ".json"


@dataclass(frozen=True)
class SupervoxelDataset:
    """A dataset with supervoxels.

    Its cases are those that nnU-Net has preprocessed. Other files beside their supervoxels, of images that aren't in
    the dataset any more or of whatever else, are strays, not failed cases.

    Attributes:
        plans: their name.
        configuration: one of them.
        folder: of the dataset, in $nnUNet_preprocessed.
        data_identifier: name of the folder in it that holds the preprocessed cases.
        cases: those for which generation was tried, sorted.
        untried: the others, sorted.
        strays: names, sorted, that are no case's, but have files as a case has in the folder of the supervoxels.
    """

    plans: str
    configuration: str
    folder: Path
    data_identifier: str
    cases: tuple[str, ...]
    untried: tuple[str, ...]
    strays: tuple[str, ...]

    @property
    def name(self) -> str:
        """As the folder is called, "Dataset990_Demo"."""
        return self.folder.name

    @property
    def supervoxels(self) -> Path:
        """Folder of the supervoxels."""
        return supervoxel_folder(self.folder, self.data_identifier)

    def only(self, cases: Sequence[str] | None) -> SupervoxelDataset:
        """The dataset with some of its cases, each once, in that order; with all if none are named.

        Raises:
            UserError: generation wasn't tried for one of them.
        """
        self.check_cases(cases or ())
        return replace(self, cases=tuple(dict.fromkeys(cases or self.cases)))

    def check_cases(self, cases: Sequence[str]) -> None:
        """Refuse names that are none of its cases.

        Raises:
            UserError: generation wasn't tried for one of them.
        """
        check_cases(cases, self.cases, f"among the preprocessed ones with supervoxels in {self.supervoxels}")

    def check_output(self, folder: Path) -> None:
        """Refuse a folder for results.

        Raises:
            UserError: it is a file, or a folder that may hold nothing but cases.
        """
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is no folder; choose another one for the results.")
        if folder.resolve() in ((self.folder / self.data_identifier).resolve(), self.supervoxels.resolve()):
            raise UserError(f"{folder} may hold nothing but cases; choose another folder for the results.")


def find_supervoxels(dataset: str | int, plans: str, configuration: str) -> SupervoxelDataset:
    """A dataset, and which of its cases have supervoxels.

    Args:
        dataset: ID or name ("Dataset990_Demo").
        plans: their name.
        configuration: one that they have.

    Raises:
        UserError: there is no such dataset, it isn't preprocessed, or none of its cases has supervoxels.
    """
    folder = dataset_folder(dataset)
    identifier = data_identifier(read_plans(folder, plans, configuration), configuration)
    if not (folder / identifier).is_dir():
        raise UserError(f"There is no folder {folder / identifier}; run nnUNetv2_plan_and_preprocess first.")
    preprocessed = set(list_preprocessed(folder / identifier))
    tried = set(list_tried(supervoxel_folder(folder, identifier)))
    if not preprocessed & tried:
        raise UserError(
            f"{folder.name} has no supervoxels of preprocessed cases in {supervoxel_folder(folder, identifier)}; "
            f"make them with 'nnUNetv2_supervoxel_generate -d {dataset}', with the same -p and -c."
        )
    parts = (preprocessed & tried, preprocessed - tried, tried - preprocessed)
    cases, untried, strays = (tuple(sorted(part)) for part in parts)
    return SupervoxelDataset(plans, configuration, folder, identifier, cases, untried, strays)


def supervoxel_folder(preprocessed_dataset: Path | str, data_identifier: str) -> Path:
    """Where a dataset's supervoxels live: ``nnUNet_preprocessed/DatasetXXX_NAME/<data_identifier>_supervoxels``."""
    return Path(preprocessed_dataset) / f"{data_identifier}{FOLDER_SUFFIX}"


def list_preprocessed(folder: Path) -> list[str]:
    """Identifiers, sorted, of the cases in a folder that nnU-Net's preprocessing has filled: those that nnU-Net lists.

    Raises:
        UserError: there is no such folder, or no case in it.
    """
    images = [name for name in _stems(folder, ARRAY_ENDING) if not name.endswith("_seg")]
    cases = sorted({*images, *_stems(folder, ".npz")})
    if not cases:
        raise UserError(f"There are no preprocessed cases in {folder}; run nnUNetv2_plan_and_preprocess first.")
    return cases


def list_without_image(folder: Path) -> list[str]:
    """Identifiers, sorted, of cases in such a folder that have properties, but no image; nnU-Net doesn't list them."""
    return sorted(set(_stems(folder, ".pkl")).difference(list_preprocessed(folder)))


def list_cases(folder: Path | str) -> list[str]:
    """Identifiers, sorted, of the cases in `folder` that have at least one supervoxel (an array)."""
    return _stems(folder, ARRAY_ENDING)


def list_tried(folder: Path | str) -> list[str]:
    """Identifiers, sorted, of the cases in `folder` that have an array, or a JSON that may say why there is none."""
    return sorted({*_stems(folder, ARRAY_ENDING), *_stems(folder, PROVENANCE_ENDING)})


def _stems(folder: Path | str, ending: str) -> list[str]:
    paths = Path(folder).glob(f"*{ending}")
    return sorted(path.name.removesuffix(ending) for path in paths if not path.name.startswith("."))
