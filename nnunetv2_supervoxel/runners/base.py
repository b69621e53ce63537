"""What all runners have in common: who does which case is theirs alone, what users see is the same."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType

from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.progress import ProgressBar
from nnunetv2_supervoxel.runners.cases import Case, Run
from nnunetv2_supervoxel.runners.reports import CaseReport

Tell = Callable[[CaseReport], object]
SECONDS_BETWEEN_LOOKS = 2.0  # at cases that other runs do


class Runner(ABC):
    """Has cases done.

    Attributes:
        config: the settings of generation.
    """

    config: GenerationConfig

    @abstractmethod
    def run(self, cases: Sequence[Case], run: Run, title: str = "cases", tell: Tell | None = None) -> list[CaseReport]:
        """Have the cases done that are not done yet. It waits for those that other runs do now.

        Args:
            cases: in their order.
            run: how they are done.
            title: of the progress bar, and in the reports: name of the dataset or folder.
            tell: gets each report as soon as it is there, so that those of a run that is ended early aren't lost.

        Returns:
            A report for every case, in their order.

        Raises:
            NotWritableError: nothing can be written to a case's target; the cases before are done.
        """


class RunProgress:
    """The reports of a run, as they come in: passed on, counted on a progress bar, and problems printed above it.

    Args:
        title: of the bar, and in the reports: name of the dataset or folder.
        cases: all of them.
        tell: gets each report.
    """

    def __init__(self, title: str, cases: Sequence[Case], tell: Tell | None) -> None:
        self._title = title
        self._cases = cases
        self._tell = tell
        self._reports: dict[str, CaseReport] = {}
        self._supervoxels = 0
        self._failed = 0
        self._now = ""
        self._bar = ProgressBar(desc=title, total=len(cases), unit="case")

    def __enter__(self) -> RunProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()

    @property
    def reports(self) -> list[CaseReport]:
        """Of all cases that are through, in the order of the cases."""
        return [self._reports[case.name] for case in self._cases if case.name in self._reports]

    def working_on(self, now: str) -> None:
        """Show what is being done."""
        self._now = now
        self._show()

    def add(self, report: CaseReport) -> None:
        """A case is through."""
        report = replace(report, dataset=self._title)
        self._reports[report.case] = report
        self._supervoxels += report.supervoxels
        self._failed += report.status == "failed"
        if report.message:
            self._bar.write(f"{report.case}: {report.status}: {report.message}")
        if self._tell:
            self._tell(report)
        self._show(through=1)

    def _show(self, through: int = 0) -> None:
        counts = [f"{self._supervoxels} supervoxels"]
        counts += [f"{self._failed} failed"] if self._failed else []
        self._bar.set_postfix_str(", ".join([*counts, self._now] if self._now else counts), refresh=False)
        self._bar.update(through)
        self._bar.refresh()
