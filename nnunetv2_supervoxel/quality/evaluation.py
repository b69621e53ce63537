"""The figures of whole datasets, in one process or several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from tqdm import tqdm

from nnunetv2_supervoxel.quality.cases import EvaluatedCase, list_cases
from nnunetv2_supervoxel.quality.figures import CaseFigures
from nnunetv2_supervoxel.quality.inputs import EvaluatedDataset


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
    figures = []
    for one in tqdm(_evaluated(cases, min(processes, len(cases))), "evaluation", len(cases), unit="case"):
        if one.error:
            tqdm.write(f"{one.dataset}, {one.case}: failed: {one.error}")
        figures.append(one)
    return figures


def _evaluated(cases: Sequence[EvaluatedCase], processes: int) -> Iterator[CaseFigures]:
    """The figures of every case, in their order."""
    if processes < 2:
        yield from (case.evaluate() for case in cases)
        return
    # Forking a process that has loaded PyTorch or blosc2 threads can deadlock, so workers start afresh.
    pool = ProcessPoolExecutor(processes, get_context("spawn"))
    try:
        futures = [pool.submit(case.evaluate) for case in cases]
        for case, future in zip(cases, futures, strict=True):
            try:
                yield future.result()
            except BrokenProcessPool:
                yield case.failed("a process was ended from outside, perhaps for want of memory; use fewer (-np).")
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, no further case is begun
