"""Whether the supervoxel files of a whole dataset are sound, and mending those that aren't."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nnunetv2_supervoxel.errors import UserError, last_line, unexpected
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.files.aside import remove_leftovers
from nnunetv2_supervoxel.files.claims import CLAIMS
from nnunetv2_supervoxel.files.failures import FAILURES
from nnunetv2_supervoxel.files.preprocessed import PreprocessedDataset, locate_dataset, read_shape
from nnunetv2_supervoxel.files.supervoxel_folders import SupervoxelDataset
from nnunetv2_supervoxel.progress import ProgressBar
from nnunetv2_supervoxel.quality.contract import Fault, Remedy, check_case
from nnunetv2_supervoxel.quality.reading import read_supervoxels

Outcome = Literal["sound", "wrong", "repaired", "removed"]


@dataclass(frozen=True)
class VerifiedCase:
    """What became of one case.

    Attributes:
        case: identifier.
        outcome: what its files are now.
        faults: what was wrong with them.
    """

    case: str
    outcome: Outcome
    faults: tuple[Fault, ...] = ()

    @property
    def mendable(self) -> bool:
        """Whether its files are wrong, but there is a remedy."""
        return self.outcome == "wrong" and all(fault.remedy != Remedy.NONE for fault in self.faults)


@dataclass(frozen=True)
class Verification:
    """What became of a dataset.

    Attributes:
        cases: those that are preprocessed and have supervoxel files.
        without: how many preprocessed cases have none now.
        other_files: names of what else is in the folder of the supervoxels.
    """

    cases: tuple[VerifiedCase, ...]
    without: int
    other_files: tuple[str, ...]


def verify_dataset(found: SupervoxelDataset, repair: bool = False) -> Verification:
    """Check the supervoxel files of every case of a dataset.

    Args:
        found: from `find_supervoxels`.
        repair: write files anew from what is sound in them, and remove those of which that isn't possible; remove what
            killed runs left, too.

    Raises:
        UserError: nnU-Net can't read the preprocessed dataset. Never for a single case.
    """
    located = locate_dataset(found.name, found.plans, found.configuration)
    if repair:
        remove_leftovers(found.supervoxels)
    others = _other_files(found.supervoxels, {*found.cases, *found.untried})
    with ProgressBar(found.cases, "verify", unit="case") as progress:
        cases = tuple(_verify_case(found.supervoxels, case, located, repair) for case in progress)
    removed = sum(case.outcome == "removed" for case in cases)
    return Verification(cases, len(found.untried) + removed, tuple(others))


def _other_files(folder: Path, cases: set[str]) -> list[str]:
    """Names, sorted, of everything in a folder of supervoxels that is no file of one of the cases."""
    ours = {path.name for case in cases for path in supervoxel_files.paths_of(folder, case)} | {CLAIMS, FAILURES}
    return sorted(path.name for path in folder.iterdir() if path.name not in ours)


def _verify_case(folder: Path, case: str, located: PreprocessedDataset, repair: bool) -> VerifiedCase:
    """Check, and mend if wanted, the files of one case. What goes wrong is a fault, never raised."""
    faults: list[Fault] = []
    outcome: Outcome = "wrong"
    try:
        shape = read_shape(located.cases, case)
        faults += check_case(folder, case, shape)
        if not faults:
            outcome = "sound"
        elif repair:
            outcome = _repair(folder, case, shape, located.patch_size, {fault.remedy for fault in faults})
    except UserError as error:
        faults.append(Fault(str(error), Remedy.NONE))
    except Exception as error:  # one bad case must not stop the others
        faults.append(Fault(unexpected(error), Remedy.NONE))
    return VerifiedCase(case, outcome, tuple(faults))


def _repair(
    folder: Path, case: str, shape: tuple[int, int, int], patch_size: tuple[int, ...], remedies: set[Remedy]
) -> Outcome:
    """Do what helps against all faults.

    Raises:
        UserError: nothing can be written there.
    """
    if Remedy.NONE in remedies:
        return "wrong"
    try:
        if Remedy.REMOVE in remedies:
            supervoxel_files.remove_case(folder, case)
            return "removed"
        supervoxels = read_supervoxels(folder, case, shape)
        provenance = supervoxel_files.read_provenance(folder, case)
        supervoxel_files.write_case(folder, case, supervoxels, provenance, patch_size)
    except OSError as error:
        raise UserError(f"it can't be mended: {error.strerror or last_line(error)}") from error
    return "repaired"
