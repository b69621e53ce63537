"""How far the generation of a dataset is, read from the files alone; any number of runs may be at work."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_supervoxel.errors import NotWritableError, UserError
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.files.claims import CLAIM_TIMEOUT, Claim, folder_clock, living_claims
from nnunetv2_supervoxel.files.failures import failure_since, failures


@dataclass(frozen=True)
class Status:
    """How far it is.

    Attributes:
        supervoxels: of the cases that are done, how many each has.
        running: claims by case, also of cases that are made anew.
        failed: reasons by case, also of cases that couldn't be made anew; those that are tried again now aren't among
            them.
        older: how many of those that are done are older than a run that makes supervoxels anew.
        left: how many cases nobody has begun, or finished.
        now: Unix time by the folder's clock.
        cases_per_second: since the first of the runs that are at work now began; 0 if none is.
    """

    supervoxels: dict[str, int]
    running: dict[str, Claim]
    failed: dict[str, str]
    older: int
    left: int
    now: float
    cases_per_second: float

    @property
    def seconds_left(self) -> float | None:
        """Until all is done, if it goes on as it did; None if nothing is known."""
        to_do = self.left + self.older + len(self.running)
        return to_do / self.cases_per_second if self.cases_per_second else None


def find_status(folder: Path, cases: list[str]) -> Status:
    """How far a folder of supervoxels is.

    Args:
        folder: of the supervoxels; it may not be there yet.
        cases: all that are to be done.
    """
    known = set(cases)
    running = {case: claim for case, claim in living_claims(folder, CLAIM_TIMEOUT).items() if case in known}
    there = {case: n for case in cases if (n := _supervoxels(folder, case)) is not None}
    written = {case: _written(folder, case) for case in there}
    failed = {
        case: reason
        for case in failures(folder)
        if case in known and case not in running and (reason := failure_since(folder, case, written.get(case, 0)))
    }
    supervoxels = {case: n for case, n in there.items() if case not in running and case not in failed}
    now = _now(folder)
    began = min((claim.run_began for claim in running.values()), default=now)
    finished = sum(written[case] > began for case in supervoxels)
    overwriting = [claim.run_began for case, claim in running.items() if 0 < written.get(case, 0) <= claim.run_began]
    return Status(
        supervoxels=supervoxels,
        running=running,
        failed=failed,
        older=sum(written[case] <= max(overwriting, default=0) for case in supervoxels),
        left=len(known) - len(supervoxels) - len(running) - len(failed),
        now=now,
        cases_per_second=finished / (now - began) if now > began else 0.0,
    )


def _supervoxels(folder: Path, case: str) -> int | None:
    """How many a case has; None if it isn't done."""
    if not supervoxel_files.is_done(folder, case):
        return None
    try:
        return int(supervoxel_files.read_provenance(folder, case)["n"])
    except UserError:  # overwritten just now
        return None


def _written(folder: Path, case: str) -> float:
    try:
        return os.stat(supervoxel_files.paths_of(folder, case)[0]).st_mtime
    except OSError:  # overwritten just now
        return 0.0


def _now(folder: Path) -> float:
    try:
        return folder_clock(folder)
    except NotWritableError:  # it isn't there yet, or is somebody else's
        return time.time()
