"""What a user is told to look at."""

from __future__ import annotations

import numpy as np
import pytest

from nnunetv2_supervoxel.pages.entries import Entry, missing
from nnunetv2_supervoxel.pages.findings import find, rank_by_oddness, typical_numbers
from nnunetv2_supervoxel.pages.making import Making
from nnunetv2_supervoxel.quality.description import Description
from nnunetv2_supervoxel.quality.figures import CaseFigures


def entry(
    case: str,
    voxels: tuple[int, ...] = (100,) * 8,
    coverage: float = 0.5,
    overlap: float = 1.0,
    duplicates: int = 0,
    **others: object,
) -> Entry:
    description = Description(voxels, tuple(3 for _ in voxels), coverage, overlap, duplicates)
    figures = CaseFigures("Dataset001_A", case, voxel_volume=2.0, description=description)
    return Entry(case, "done" if voxels else "empty", figures, **others)


def found(entries: list[Entry], makings: tuple[Making, ...] = ()) -> dict[str, dict[str, str]]:
    return {finding.kind.key: dict(finding.cases) for finding in find(entries, makings)}


USUAL = [entry("a"), entry("b"), entry("c")]


def test_nothing_is_odd_about_usual_cases() -> None:
    assert found(USUAL) == {}


@pytest.mark.parametrize(
    ("odd", "key", "detail"),
    [
        (entry("odd", voxels=(100,) * 3), "few", "3, the median is 8"),
        (entry("odd", voxels=(100,) * 6 + (49, 50)), "tiny", "1 of 8"),
        (entry("odd", volume_share=0.25), "huge", "25% of the volume"),
        (entry("odd", duplicates=2), "duplicates", "2 of 8"),
        (entry("odd", overlap=2.5), "crowded", "2.5 on a covered voxel"),
        (entry("odd", voxels=()), "empty", "nothing found"),
        (entry("odd", notes=("12 voxels are NaN",)), "notes", "12 voxels are NaN"),
        (
            Entry("odd", "failed", CaseFigures("Dataset001_A", "odd", error="a file is damaged")),
            "failed",
            "a file is damaged",
        ),
        (missing("Dataset001_A", "odd", ""), "missing", "not done yet"),
        (missing("Dataset001_A", "odd", "it is too large"), "missing", "it is too large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_sort_of_finding_alone(odd: Entry, key: str, detail: str) -> None:
    assert found([*USUAL, odd]) == {key: {"odd": detail}}


@pytest.mark.parametrize(
    "fine",
    [
        entry("d", voxels=(100,) * 4),
        entry("d", voxels=(50,) * 8),
        entry("d", volume_share=0.24),
        entry("d", overlap=2.0),
    ],
)
def test_at_the_threshold_nothing_is_found(fine: Entry) -> None:
    assert found([*USUAL, fine]) == {}


def test_other_settings_are_named() -> None:
    makings = (Making({}, ("a", "b")), Making({}, ("c",), differing=("keyframes", "sam2_checkpoint")))
    assert found(USUAL, makings) == {"settings": {"c": "keyframes, sam2_checkpoint"}}


def test_the_oddest_differs_most_for_the_dataset_s_spread() -> None:
    coverages = [0.50, 0.51, 0.49, 0.52, 0.48]
    entries = [entry(f"case{i}", coverage=coverage, voxels=(100,) * (8 + i)) for i, coverage in enumerate(coverages)]
    odd = entry("odd", coverage=0.3, voxels=(100,) * 11)
    first, *others = rank_by_oddness([*entries, odd, entry("empty", voxels=())])
    assert (first.case, first.number, first.value) == ("odd", "coverage", 0.3)
    assert first.typical == pytest.approx(0.495)
    deviation = 1.4826 * np.median(np.abs(np.array([*coverages, 0.3]) - 0.495))
    assert first.deviations == pytest.approx(0.195 / deviation)
    assert [one.deviations for one in others] == sorted((one.deviations for one in others), reverse=True)
    assert len(others) == 5  # of the empty case there is nothing to view


def test_cases_that_are_all_alike_are_not_odd() -> None:
    assert [one.deviations for one in rank_by_oddness(USUAL)] == [0, 0, 0]
    assert rank_by_oddness([]) == []


def test_one_that_differs_from_equal_ones_is_the_oddest() -> None:
    first = rank_by_oddness([*USUAL, entry("d", coverage=0.4)])[0]
    assert first.case == "d"
    assert first.deviations > 1


def test_typical_numbers_are_medians_of_what_is_known() -> None:
    typical = typical_numbers([entry("a", predicted_iou=(0.2, 0.4, 0.9)), entry("b"), entry("c", voxels=(10,))])
    assert typical["predicted_iou"] == 0.4
    assert typical["supervoxels"] == 8
    assert np.isnan(typical["consistency"])
