"""What goes wrong in one case is said in a sentence, and stops no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from killed_case import KilledCase

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.quality.cases import EvaluatedCase
from nnunetv2_supervoxel.quality.evaluation import evaluated


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


def test_a_process_that_is_killed_is_reported_for_every_case_that_waited_for_it() -> None:
    reasons = list(evaluated([KilledCase()] * 3, processes=2))
    assert len(reasons) == 3
    assert all("ended from outside, perhaps for want of memory" in reason for reason in reasons)
