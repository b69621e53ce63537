"""What commands print at the end, and the table of cases."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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


@contextmanager
def summed_up(table: Path | None) -> Iterator[list[CaseReport]]:
    """A list for the reports of cases. In the end they are summed up, also if a signal or a full disk ended the run.

    Args:
        table: file to write the reports to, if one is wanted.
    """
    reports: list[CaseReport] = []
    try:
        yield reports
    except BaseException as error:
        if reports or isinstance(error, KeyboardInterrupt):
            _sum_up(reports, table)
        raise
    _sum_up(reports, table)


def exit_code(reports: Sequence[CaseReport]) -> int:
    """0 if every case is done, else 1."""
    return int(any(report.status == "failed" for report in reports))


def _sum_up(reports: Sequence[CaseReport], table: Path | None) -> None:
    """Print how many cases were made, kept, ..., and name those that failed; write the table if one is wanted."""
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
    if table:
        _write_table(reports, table)


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
