"""What goes wrong in one case is said in a sentence, and stops no other."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import pytest

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.quality import evaluation
from nnunetv2_supervoxel.quality.cases import EvaluatedCase


@pytest.fixture
def case() -> EvaluatedCase:
    return EvaluatedCase(
        name="a",
        located=SimpleNamespace(folder=Path("preprocessed/Dataset001_A")),
        supervoxels=Path("missing"),
        plans="nnUNetPlans",
        configuration="3d_fullres",
        own_labels=True,
        label_map=None,
        ignored=None,
    )


def raising(error: Exception) -> Callable:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_a_missing_file_is_named(case: EvaluatedCase) -> None:
    figures = case.evaluate()
    assert (figures.dataset, figures.case, figures.description) == ("Dataset001_A", "a", None)
    assert figures.error.startswith("missing/a.json can't be read")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (UserError("x is wrong; mend it."), "x is wrong; mend it."),
        (MemoryError(), "it doesn't fit into memory; use fewer processes (-np)."),
        (ValueError("a bug\nin two lines"), "unexpected ValueError: in two lines (please report this)"),
    ],
)
def test_errors_become_sentences(
    case: EvaluatedCase, error: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EvaluatedCase, "_figures", raising(error))
    figures = case.evaluate()
    assert (figures.case, figures.description, figures.error) == ("a", None, sentence)


def test_a_process_that_is_killed_is_reported_for_every_case_that_waited_for_it(
    case: EvaluatedCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledPool:
        def __init__(self, *_: object) -> None: ...

        def shutdown(self, **_: object) -> None: ...

        def submit(self, _: Callable) -> Future:
            future: Future = Future()
            future.set_exception(BrokenProcessPool())
            return future

    monkeypatch.setattr(evaluation, "ProcessPoolExecutor", KilledPool)
    monkeypatch.setattr(evaluation, "list_cases", lambda _: [case, case])
    errors = [one.error for one in evaluation.evaluate_datasets([None], processes=2)]
    assert len(errors) == 2
    assert all("ended from outside, perhaps for want of memory" in error for error in errors)
