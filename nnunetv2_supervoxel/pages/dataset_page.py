"""The page of a dataset: what generation made of it, case by case."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nnunetv2_supervoxel.files.failures import failures
from nnunetv2_supervoxel.files.nnunet_folders import read_plans
from nnunetv2_supervoxel.pages.entries import CaseToShow, Entry, cases_to_show, missing
from nnunetv2_supervoxel.pages.findings import Finding, Oddness, find, rank_by_oddness, typical_numbers
from nnunetv2_supervoxel.pages.making import group_by_making
from nnunetv2_supervoxel.pages.pictures import data_uri
from nnunetv2_supervoxel.pages.plots import histogram
from nnunetv2_supervoxel.pages.rendering import shown, write_page
from nnunetv2_supervoxel.pages.viewer import COLOURS, viewer_content
from nnunetv2_supervoxel.progress import ProgressBar
from nnunetv2_supervoxel.quality.cases import attempt
from nnunetv2_supervoxel.quality.evaluation import evaluated
from nnunetv2_supervoxel.quality.inputs import EvaluatedDataset
from nnunetv2_supervoxel.quality.summary import summarise_dataset

FIRST, ODDEST = 3, 3  # how many cases the viewer shows by default


@dataclass(frozen=True)
class Column:
    """A column of the table of cases: the name in `Entry.numbers`, its title, its meaning, and how it is written."""

    name: str
    title: str
    meaning: str
    form: str


COLUMNS = (
    Column("supervoxels", "supervoxels", "how many there are", ".0f"),
    Column("volume", "volume, mm³", "median over the case's supervoxels", ",.0f"),
    Column("slices", "slices", "slices that a supervoxel spans along its own axis, median", ".0f"),
    Column("coverage", "coverage", "share of the foreground that lies in a supervoxel", ".0%"),
    Column("overlap", "overlap", "in how many supervoxels a covered voxel lies, in the mean", ".2f"),
    Column("duplicates", "duplicates", "supervoxels that are nearly a copy of an earlier one", ".0f"),
    Column("predicted_iou", "predicted IoU", "SAM's own estimate, median", ".2f"),
    Column("consistency", "consistency", "Dice of the seed with what is tracked back to it, median", ".2f"),
)


def write_dataset_page(
    dataset: EvaluatedDataset, path: Path, view: Sequence[str] | None = None, processes: int = 1
) -> list[Entry]:
    """Write a dataset's page. One case for each process is in memory at a time, and the small pictures of all.

    Args:
        dataset: from `find_dataset`.
        path: of the HTML file, see `rendering.check_page`.
        view: cases for the viewer; None: the first three and the three oddest.
        processes: how many cases at once; the page doesn't depend on it.

    Returns:
        What it says of every preprocessed case, sorted by name.

    Raises:
        UserError: nnU-Net can't read the preprocessed dataset, or the page can't be written. Never for a single case.
    """
    transpose = tuple(read_plans(dataset.folder, dataset.plans, dataset.configuration)["transpose_forward"])
    to_show = cases_to_show(dataset, transpose)
    reasons = failures(dataset.supervoxels)
    entries = list(ProgressBar(evaluated(to_show, processes), "report", len(to_show), unit="case"))
    entries += [missing(dataset.name, case, reasons.get(case, "")) for case in dataset.untried]
    entries.sort(key=lambda entry: entry.case)
    oddness = {one.case: one for one in rank_by_oddness(entries)}
    viewed = list(dict.fromkeys(view)) if view is not None else cases_to_view(entries, list(oddness))
    content = page_content(dataset, entries, oddness)
    by_name = {one.case.name: one for one in to_show}
    write_page(path, "dataset.html", content | {"viewer": _viewer([by_name[case] for case in viewed], oddness)})
    return entries


def cases_to_view(entries: Sequence[Entry], by_oddness: Sequence[str]) -> list[str]:
    """The first cases with supervoxels, and the oddest of the others."""
    first = [entry.case for entry in entries if entry.status == "done"][:FIRST]
    return first + [case for case in by_oddness if case not in first][:ODDEST]


def page_content(dataset: EvaluatedDataset, entries: Sequence[Entry], oddness: Mapping[str, Oddness]) -> dict[str, Any]:
    """What the template asks for, but for the viewer."""
    makings = group_by_making(entries)
    findings = find(entries, makings)
    measured = [entry.figures for entry in entries if entry.status in ("done", "empty")]
    return {
        "dataset": dataset,
        "version": version("nnunetv2-supervoxel"),
        "count": {status: sum(entry.status == status for entry in entries) for status in _STATUSES},
        "summary": summarise_dataset(measured),
        "plots": _plots(entries),
        "findings": findings,
        "makings": makings,
        "columns": _columns_with_values(entries),
        "rows": [_row(entry, findings, dataset) for entry in entries],
    }


_STATUSES = ("done", "empty", "failed", "missing")


def _columns_with_values(entries: Sequence[Entry]) -> list[Column]:
    """All columns but those of scores that no case has."""
    typical = typical_numbers(entries)
    return [
        column
        for column in COLUMNS
        if column.name not in ("predicted_iou", "consistency") or typical[column.name] == typical[column.name]
    ]


def _row(entry: Entry, findings: Sequence[Finding], dataset: EvaluatedDataset) -> dict[str, Any]:
    found_here = [(found.kind, found.cases[entry.case]) for found in findings if entry.case in found.cases]
    return {
        "entry": entry,
        "numbers": entry.numbers,
        "thumbnail": data_uri(entry.thumbnail, "image/webp") if entry.thumbnail else None,
        "findings": [(kind, _without_folders(detail, dataset)) for kind, detail in found_here],
    }


def _without_folders(detail: str, dataset: EvaluatedDataset) -> str:
    """Files as they are called in the folder of the supervoxels, which the page's head names, or in the dataset's."""
    for folder in (dataset.supervoxels, dataset.folder):
        detail = detail.replace(f"{folder}{os.sep}", "")
    return detail


def _plots(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """Title and address of the picture of each distribution that has values."""
    done = [entry for entry in entries if entry.figures.description is not None]
    supervoxels = [(entry.figures.voxel_volume, entry.figures.description) for entry in done]
    volumes = [volume * voxels for volume, one in supervoxels if one for voxels in one.voxels if voxels]
    slices = [number for _, one in supervoxels if one for number in one.slices]
    coverage = [one.coverage for _, one in supervoxels if one and one.coverage == one.coverage]
    counts = [len(one.voxels) for _, one in supervoxels if one]
    of = "supervoxels"
    wanted: list[tuple[str, Sequence[float], str, bool]] = [
        ("supervoxels per case", counts, "cases", False),
        ("volume in mm³", volumes, of, True),
        ("slices spanned", slices, of, False),
        ("predicted IoU", [value for entry in done for value in entry.predicted_iou], of, False),
        ("consistency", [value for entry in done for value in entry.consistency], of, False),
        ("share of the foreground covered", coverage, "cases", False),
    ]
    return [(title, histogram(values, title, of, log)) for title, values, of, log in wanted if values]


def _viewer(cases: Sequence[CaseToShow], oddness: Mapping[str, Oddness]) -> dict[str, Any]:
    """What the viewer shows; of a case that can't be read, why."""
    contents = [
        {
            "case": case.case.name,
            "odd": _why_odd(oddness.get(case.case.name)),
            **attempt(partial(viewer_content, case), lambda reason: {"error": reason}),
        }
        for case in cases
    ]
    return {"cases": contents, "colours": COLOURS}


def _why_odd(odd: Oddness | None) -> str:
    """In which number a case differs most from the others; nothing if it hardly does."""
    if odd is None or odd.deviations < 1:
        return ""
    column = next(column for column in COLUMNS if column.name == odd.number)
    return f"{column.title}: {shown(odd.value, column.form)}, the dataset's median is {shown(odd.typical, column.form)}"
