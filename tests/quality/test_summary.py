"""From cases to datasets and labels."""

from __future__ import annotations

import numpy as np
import pytest

from nnunetv2_supervoxel.quality.description import Description
from nnunetv2_supervoxel.quality.figures import CaseFigures, StructureFigures
from nnunetv2_supervoxel.quality.measures import STRUCTURE_MEASURES
from nnunetv2_supervoxel.quality.summary import summarise_dataset, summarise_labels

NAN = float("nan")


def structure(label: int, part: int, value: float) -> StructureFigures:
    return StructureFigures(label, part, 100, dict.fromkeys(STRUCTURE_MEASURES, value))


def cases() -> list[CaseFigures]:
    """Two cases, one that failed, and one without supervoxels."""
    first = Description(voxels=(10, 20, 30), slices=(2, 3, 7), coverage=0.4, overlap=1.5, duplicates=1)
    second = Description(voxels=(100,), slices=(9,), coverage=NAN, overlap=1.1, duplicates=0)
    third = Description(voxels=(), slices=(), coverage=0.0, overlap=NAN, duplicates=0)
    return [
        CaseFigures("D", "a", 2.0, first, (structure(1, 0, 0.2), structure(1, 1, 0.3), structure(3, 0, 0.9))),
        CaseFigures("D", "b", 2.0, second, (structure(1, 0, NAN), structure(1, 1, 0.5), structure(1, 2, 0.1))),
        CaseFigures("D", "c", error="it is damaged"),
        CaseFigures("D", "d", 2.0, third),
    ]


def test_a_dataset() -> None:
    summary = summarise_dataset(cases())
    assert (summary.cases, summary.failed) == (3, 1)
    assert summary.supervoxels == pytest.approx((4 / 3, 0, 3))
    assert summary.volumes == pytest.approx(np.percentile([20, 40, 60, 200], (5, 25, 50, 75, 95)))
    assert summary.slices == (5, 2, 9)
    assert summary.coverage == pytest.approx(0.2)  # where it is known
    assert summary.overlap == pytest.approx(1.3)
    assert summary.duplicates == 1 / 4


def test_nothing_to_sum_up_is_nan() -> None:
    summary = summarise_dataset(cases()[2:3])
    assert (summary.cases, summary.failed) == (0, 1)
    assert np.isnan([*summary.supervoxels, *summary.volumes, summary.coverage, summary.duplicates]).all()
    assert summarise_labels(cases()[2:3]) == []


def test_labels_as_wholes_and_in_components() -> None:
    found = summarise_labels(cases())
    assert [(one.label, one.components, one.structures) for one in found] == [
        (1, False, 2),
        (1, True, 3),
        (3, False, 1),
        (3, True, 0),
        (None, False, 3),
        (None, True, 3),
    ]
    means = [one.measures["best_dice"] for one in found]
    assert means == pytest.approx([0.2, 0.3, 0.9, NAN, 0.55, 0.3], nan_ok=True)


def test_one_label_needs_no_line_for_all() -> None:
    assert [one.label for one in summarise_labels(cases()[1:2])] == [1, 1]
