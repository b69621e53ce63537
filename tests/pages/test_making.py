"""Cases are grouped by what made them."""

from __future__ import annotations

from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.pages.entries import Entry
from nnunetv2_supervoxel.pages.making import group_by_making
from nnunetv2_supervoxel.quality.figures import CaseFigures


def entry(case: str, status: str = "done", version: str = "0.1.0", digest: str = "a", **settings: object) -> Entry:
    made_by = {
        "packages": {"nnunetv2-supervoxel": version, "numpy": "2.0"},
        "checkpoints": {"sam1": {"name": "sam.pth", "sha256": digest}},
        "config": GenerationConfig(**settings).model_dump(mode="json"),
        "device": "cpu",
    }
    return Entry(case, status, CaseFigures("Dataset001_A", case), made_by=made_by)


def test_most_cases_come_first_and_others_are_compared_with_them() -> None:
    entries = [
        entry("a", keyframes=2),
        entry("b"),
        entry("c", status="empty"),
        entry("d", digest="b"),
        entry("e", version="0.2.0"),
        entry("f", status="failed", keyframes=9),
    ]
    makings = group_by_making(entries)
    assert [making.cases for making in makings] == [("b", "c"), ("a",), ("d",), ("e",)]
    assert [making.differing for making in makings] == [(), ("keyframes",), ("sam1_checkpoint",), ()]
    assert [making.packages for making in makings] == [(), (), (), ("nnunetv2-supervoxel",)]


def test_settings_that_make_no_difference_are_none() -> None:
    makings = group_by_making([entry("a"), entry("b"), entry("c", points_per_batch=7)])
    assert [making.differing for making in makings] == [(), ()]


def test_supervoxels_of_unknown_making() -> None:
    (making,) = group_by_making([Entry("a", "done", CaseFigures("Dataset001_A", "a"))])
    assert (making.made_by, making.differing) == ({}, ())
    assert group_by_making([]) == []
