"""The report of an evaluation: tables for the terminal, CSV and JSON files."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.quality.description import DUPLICATE_IOU
from nnunetv2_supervoxel.quality.figures import CaseFigures
from nnunetv2_supervoxel.quality.inputs import EvaluatedDataset
from nnunetv2_supervoxel.quality.measures import STRUCTURE_MEASURES
from nnunetv2_supervoxel.quality.summary import (
    PERCENTILES,
    DatasetSummary,
    LabelSummary,
    summarise_dataset,
    summarise_labels,
)


def tables(datasets: Sequence[EvaluatedDataset], figures: Sequence[CaseFigures]) -> str:
    """What a user reads: a column for each dataset, then a table of labels for each dataset that has some."""
    by_dataset = [(dataset, _of(dataset, figures)) for dataset in datasets]
    columns = [_dataset_column(dataset.name, summarise_dataset(cases)) for dataset, cases in by_dataset]
    texts = [_aligned([[row, *(column[row] for column in columns)] for row in columns[0]])]
    for dataset, cases in by_dataset:
        if summaries := summarise_labels(cases):
            texts.append(_aligned(_label_table(dataset, summaries)))
    return "\n\n".join(texts)


def write_report(folder: Path, datasets: Sequence[EvaluatedDataset], figures: Sequence[CaseFigures]) -> None:
    """Write cases.csv (a row for each case), structures.csv (a row for each structure) and summary.json.

    Args:
        folder: made if missing.
        datasets: which are reported.
        figures: of their cases.

    Raises:
        UserError: the files can't be written.
    """
    cases = [(dataset, case) for dataset in datasets for case in _of(dataset, figures)]
    structures = [row for dataset, case in cases for row in _structure_rows(dataset, case)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_csv(folder / "cases.csv", [_case_row(*case) for case in cases], ("dataset", "case", "error"))
        _write_csv(folder / "structures.csv", structures, ("dataset", "case", "label"))
        content = {
            "package": {"nnunetv2-supervoxel": version("nnunetv2-supervoxel")},
            "datasets": [_dataset_content(dataset, _of(dataset, figures)) for dataset in datasets],
        }
        (folder / "summary.json").write_text(json.dumps(_without_nan(content), indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise UserError(f"The results can't be written to {folder}: {error.strerror}.") from error


def _of(dataset: EvaluatedDataset, figures: Sequence[CaseFigures]) -> list[CaseFigures]:
    return [case for case in figures if case.dataset == dataset.name]


def _dataset_column(name: str, summary: DatasetSummary) -> dict[str, str]:
    """The lines of a dataset's column, by what they say."""
    mean, fewest, most = (_shown(value, ".1f") for value in summary.supervoxels)
    median, least, longest = (_shown(value, ".0f") for value in summary.slices)
    return {
        "": name,
        "cases": f"{summary.cases}" + (f" ({summary.failed} more failed)" if summary.failed else ""),
        "supervoxels per case: mean (range)": f"{mean} ({fewest.split('.')[0]} to {most.split('.')[0]})",
        **{
            f"volume of a supervoxel, mm³: {percentile}th percentile": _shown(volume, ".0f")
            for percentile, volume in zip(PERCENTILES, summary.volumes, strict=True)
        },
        "slices spanned: median (range)": f"{median} ({least} to {longest})",
        "foreground covered": _shown(summary.coverage, ".1%"),
        "supervoxels on a covered voxel": _shown(summary.overlap, ".2f"),
        f"duplicates (IoU of {DUPLICATE_IOU} or more with an earlier one)": _shown(summary.duplicates, ".1%"),
    }


def _label_table(dataset: EvaluatedDataset, summaries: Sequence[LabelSummary]) -> list[list[str]]:
    rows = [[dataset.name, "structures", *(name.replace("_", " ") for name in STRUCTURE_MEASURES)]]
    for summary in summaries:
        title = "all labels" if summary.label is None else _label_name(dataset, summary.label)
        title += ", components" if summary.components else ""
        rows.append([title, str(summary.structures), *(_shown(value, ".3f") for value in summary.measures.values())])
    return rows


def _label_name(dataset: EvaluatedDataset, label: int) -> str:
    return dataset.labels.names.get(label, f"label {label}")


def _shown(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        right = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *right]))
    return "\n".join(lines)


def _case_row(dataset: EvaluatedDataset, case: CaseFigures) -> dict[str, object]:
    row: dict[str, object] = {"dataset": dataset.name, "case": case.case, "error": case.error}
    if case.description is None:
        return row
    alone, described = summarise_dataset([case]), case.description
    volumes = zip(PERCENTILES, alone.volumes, strict=True)
    return row | {
        "supervoxels": len(described.voxels),
        **{f"volume_mm3_percentile_{percentile}": volume for percentile, volume in volumes},
        **dict(zip(("slices_median", "slices_min", "slices_max"), alone.slices, strict=True)),
        "coverage": described.coverage,
        "overlap": described.overlap,
        "duplicates": described.duplicates,
        "structures": len(case.structures),
    }


def _structure_rows(dataset: EvaluatedDataset, case: CaseFigures) -> list[dict[str, object]]:
    return [
        {
            "dataset": dataset.name,
            "case": case.case,
            "label": one.label,
            "name": _label_name(dataset, one.label),
            "component": one.part or "whole",
            "voxels": one.voxels,
            "volume_mm3": one.voxels * case.voxel_volume,
            **one.measures,
        }
        for one in case.structures
    ]


def _write_csv(path: Path, rows: Sequence[Mapping[str, object]], head: Sequence[str]) -> None:
    """A row lacks columns that have no value for it; `head` names those that are there without any row, too."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys([*head, *(key for row in rows for key in row)])))
        writer.writeheader()
        writer.writerows(_without_nan(rows))


def _dataset_content(dataset: EvaluatedDataset, cases: Sequence[CaseFigures]) -> dict[str, Any]:
    return {
        "dataset": dataset.name,
        "plans": dataset.plans,
        "configuration": dataset.configuration,
        "label_maps": "own" if dataset.label_maps is None else {c: str(p) for c, p in dataset.label_maps.items()},
        "summary": _summary_content(summarise_dataset(cases)),
        "labels": [
            {"name": "all labels" if one.label is None else _label_name(dataset, one.label), **asdict(one)}
            for one in summarise_labels(cases)
        ],
        "cases": [asdict(case) for case in cases],
    }


def _summary_content(summary: DatasetSummary) -> dict[str, Any]:
    named = {
        "supervoxels": zip(("mean", "min", "max"), summary.supervoxels, strict=True),
        "volumes": zip((f"percentile_{percentile}" for percentile in PERCENTILES), summary.volumes, strict=True),
        "slices": zip(("median", "min", "max"), summary.slices, strict=True),
    }
    return asdict(summary) | {name: dict(values) for name, values in named.items()}


def _without_nan(content: Any) -> Any:
    """The same lists, dicts and numbers, but None in place of NaN, which JSON doesn't have."""
    if isinstance(content, Mapping):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content
