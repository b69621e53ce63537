"""One case after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tqdm import tqdm

from nnunetv2_supervoxel.generation.out_of_memory import free_memory
from nnunetv2_supervoxel.generation.pipeline import SupervoxelGenerator
from nnunetv2_supervoxel.runners.cases import Case, do_case
from nnunetv2_supervoxel.runners.reading_ahead import Reader
from nnunetv2_supervoxel.runners.reports import CaseReport
from nnunetv2_supervoxel.runners.stopping import stop_if_asked


def run_serially(
    cases: Sequence[Case],
    generator: SupervoxelGenerator,
    overwrite: bool = False,
    title: str = "cases",
    tell: Callable[[CaseReport], object] | None = None,
) -> list[CaseReport]:
    """Do the cases that are not done yet; a report for every case.

    Args:
        cases: in their order.
        generator: models, loaded.
        overwrite: make existing supervoxels anew.
        title: of the progress bar.
        tell: gets each report as soon as it is there, so that those of a run that is ended early aren't lost.

    Raises:
        NotWritableError: nothing can be written to a case's target; the cases before are done.
    """
    reports, made_by = [], generator.provenance
    with Reader(cases, lambda case: not overwrite and case.is_done()) as reader:
        for case in _with_progress(cases, title):
            report = do_case(case, generator, made_by, overwrite, reader.read)
            if report.message:
                tqdm.write(f"{case.name}: {report.status}: {report.message}")
            reports.append(report)
            if tell:
                tell(report)
            stop_if_asked()
            free_memory()
    return reports


def _with_progress(cases: Sequence[Case], title: str) -> Iterator[Case]:
    with tqdm(cases, desc=title, unit="case") as progress:
        for case in progress:
            progress.set_postfix_str(case.name)
            yield case
