"""What commands print at the end, and the table of cases."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from nnunetv2_supervoxel.errors import UserError

if TYPE_CHECKING:
    from nnunetv2_supervoxel.runners.reports import CaseReport


def finish(failures: Mapping[str, str], summary: str) -> int:
    """Name the cases that failed, with the reasons, then sum up; the exit code."""
    for case, reason in failures.items():
        print(f"{case} failed: {reason}", file=sys.stderr)
    print(summary)
    return 1 if failures else 0


def finish_generation(reports: Sequence[CaseReport], table: Path | None) -> int:
    """Write the table if one is wanted, sum up, and name the cases that failed; the exit code."""
    if table:
        _write_table(reports, table)
    count = Counter(report.status for report in reports)
    print(
        f"{len(reports)} cases: {count['made']} made, {count['kept']} kept, {count['empty']} without supervoxels, "
        f"{count['failed']} failed; {sum(report.supervoxels for report in reports)} supervoxels in all."
    )
    if differing := [report.differing for report in reports if report.differing]:
        settings = ", ".join(sorted(set().union(*differing)))
        print(
            f"Note: {len(differing)} of them were done before with other settings ({settings}) and stay as they are; "
            "--overwrite makes them anew.",
            file=sys.stderr,
        )
    for report in reports:
        if report.status == "failed":
            print(f"  {report.case}: {report.message}", file=sys.stderr)
    return 1 if count["failed"] else 0


def _write_table(reports: Sequence[CaseReport], path: Path) -> None:
    from nnunetv2_supervoxel.runners.reports import CaseReport

    try:
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(CaseReport)])
            writer.writeheader()
            for report in reports:
                words = {"seconds": round(report.seconds, 2), "differing": ", ".join(report.differing)}
                writer.writerow(asdict(report) | words)
    except OSError as error:
        raise UserError(f"The supervoxels are done, but {path} can't be written: {error.strerror}.") from error
