"""What commands print at the end, and the table of cases."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files.aside import writing_to
from nnunetv2_supervoxel.files.supervoxel_folders import list_without_image

if TYPE_CHECKING:
    from nnunetv2_supervoxel.files.supervoxel_folders import SupervoxelDataset
    from nnunetv2_supervoxel.runners.generate import Job
    from nnunetv2_supervoxel.runners.reports import CaseReport


def finish(failures: Mapping[str, str], summary: str) -> int:
    """Name the cases that failed, with the reasons, then sum up; the exit code."""
    for case, reason in failures.items():
        print(f"{case} failed: {reason}", file=sys.stderr)
    print(summary)
    return 1 if failures else 0


def note_strays(found: SupervoxelDataset) -> None:
    """Say that supervoxel files which belong to none of a dataset's cases are left out, if there are some."""
    if found.strays:
        print(
            f"Note: files in {found.supervoxels} belong to no preprocessed case, such as those of '{found.strays[0]}'; "
            "they are left out (nnUNetv2_supervoxel_verify names all).",
            file=sys.stderr,
        )


def note_without_image(folder: Path) -> None:
    """Say that cases in a preprocessed folder have lost their images, as in an interrupted copy, if some have."""
    if lost := list_without_image(folder):
        print(
            f"Note: {len(lost)} preprocessed cases in {folder} have a .pkl and no image, such as '{lost[0]}'; nnU-Net "
            "leaves them out, too. Copy or preprocess them again.",
            file=sys.stderr,
        )


class Tally:
    """Counts what is done, one by one. In the end it is summed up, also if a signal or a full disk ended the command.

    Args:
        words: the last line, of the numbers of things that are done and that failed.
    """

    def __init__(self, words: Callable[[int, int], str]) -> None:
        self._words = words
        self._done = 0
        self._failures: dict[str, str] = {}

    def __enter__(self) -> Tally:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None or self._done or self._failures or issubclass(kind, KeyboardInterrupt):
            finish(self._failures, self._words(self._done, len(self._failures)))

    @property
    def exit_code(self) -> int:
        """0 if nothing failed."""
        return int(bool(self._failures))

    def add(self, name: str, failure: str | None = None) -> None:
        """One is done, or has failed for a reason."""
        if failure is None:
            self._done += 1
        else:
            self._failures[name] = failure


class RunSummary:
    """Takes the reports of cases. In the end they are summed up, also if a signal or a full disk ended the run.

    Args:
        jobs: what the run is to do.
        table: CSV file to write the reports to, if one is wanted.
        log: file to which a line of JSON is added for every case as soon as it is through, if one is wanted.
    """

    def __init__(self, jobs: Sequence[Job], table: Path | None, log: Path | None) -> None:
        self._cases = [case for job in jobs for case in job.cases]
        self._table = table
        self._log = log
        self._reports: list[CaseReport] = []

    def __enter__(self) -> RunSummary:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None or self._reports or issubclass(kind, KeyboardInterrupt):
            self._sum_up()

    @property
    def exit_code(self) -> int:
        """0 if every case is done, else 1."""
        return int(any(report.status == "failed" for report in self._reports))

    def add(self, report: CaseReport) -> None:
        """A case is through.

        Raises:
            NotWritableError: the log can't be written.
        """
        self._reports.append(report)
        if self._log:
            line = {"time": datetime.now(timezone.utc).isoformat(timespec="seconds"), **asdict(report)}
            with writing_to(self._log.resolve().parent), open(self._log, "a") as file:
                file.write(json.dumps(line) + "\n")

    def _sum_up(self) -> None:
        """Print how many cases were made, kept, ..., and name those that failed; write the table if one is wanted."""
        reports, count = self._reports, Counter(report.status for report in self._reports)
        through = f"{len(reports)} of " if len(reports) < len(self._cases) else ""
        supervoxels, folders = sum(report.supervoxels for report in reports), {case.target for case in self._cases}
        where = f", in {folders.pop()}" if supervoxels and len(folders) == 1 else ""
        print(
            f"{through}{len(self._cases)} cases: {count['made']} made, {count['kept']} kept, {count['empty']} without "
            f"supervoxels, {count['failed']} failed; {supervoxels} supervoxels in all{where}."
        )
        if differing := [report.differing for report in reports if report.differing]:
            settings = ", ".join(sorted(set().union(*differing)))
            print(
                f"Note: {len(differing)} of them were done before with other settings ({settings}) and stay as they "
                "are; --overwrite makes them anew.",
                file=sys.stderr,
            )
        several = len({report.dataset for report in reports}) > 1
        for report in reports:
            if report.status == "failed":
                case = f"{report.dataset}, {report.case}" if several else report.case
                print(f"  {case}: {report.message}", file=sys.stderr)
        if self._table:
            _write_table(reports, self._table)


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
