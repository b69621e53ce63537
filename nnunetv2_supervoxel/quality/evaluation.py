"""The figures of whole datasets, in one process or several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, TypeVar

from nnunetv2_supervoxel.progress import ProgressBar
from nnunetv2_supervoxel.quality.cases import list_cases
from nnunetv2_supervoxel.quality.figures import CaseFigures
from nnunetv2_supervoxel.quality.inputs import EvaluatedDataset
from nnunetv2_supervoxel.worker_processes import WorkerProcesses

Figures_co = TypeVar("Figures_co", covariant=True)


class Evaluable(Protocol[Figures_co]):
    """A case that can be sent to another process, and says there what it is like."""

    def evaluate(self) -> Figures_co:
        """Its figures; nothing is raised."""

    def failed(self, reason: str) -> Figures_co:
        """What stands for them if that isn't possible."""


def evaluate_datasets(datasets: Sequence[EvaluatedDataset], processes: int = 1) -> list[CaseFigures]:
    """Measure the supervoxels of every case.

    Args:
        datasets: from `find_dataset`.
        processes: how many cases at once; the figures don't depend on it.

    Returns:
        In the order of datasets and cases. A case that can't be evaluated has the reason as its `error`.

    Raises:
        UserError: nnU-Net can't read the preprocessed cases of a dataset.
    """
    cases = [case for dataset in datasets for case in list_cases(dataset)]
    return list(ProgressBar(evaluated(cases, processes), "evaluation", len(cases), unit="case"))


def evaluated(cases: Sequence[Evaluable[Figures_co]], processes: int) -> Iterator[Figures_co]:
    """The figures of every case, in their order, from so many processes."""
    processes = min(processes, len(cases))
    if processes < 2:
        yield from (case.evaluate() for case in cases)
        return
    with WorkerProcesses(processes) as pool:
        futures = [pool.submit(case.evaluate) for case in cases]
        for case, future in zip(cases, futures, strict=True):
            try:
                yield future.result()
            except BrokenProcessPool:
                yield case.failed("a process was ended from outside, perhaps for want of memory; use fewer (-np).")
