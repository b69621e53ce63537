"""From the figures of cases to those of datasets and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_supervoxel.quality.figures import CaseFigures, StructureFigures
from nnunetv2_supervoxel.quality.measures import STRUCTURE_MEASURES

PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True)
class DatasetSummary:
    """What the supervoxels of a dataset are like. Cases that failed are left out.

    Attributes:
        cases: how many.
        failed: how many more could not be evaluated.
        supervoxels: per case: mean, least, most.
        volumes: of all supervoxels, in mm³: the percentiles of `PERCENTILES`.
        slices: spanned along a supervoxel's own axis: median, least, most.
        coverage: share of the foreground in a supervoxel, mean over cases.
        overlap: in how many supervoxels a covered voxel lies, mean over cases.
        duplicates: share of the supervoxels that are nearly a copy of an earlier one in their case.
    """

    cases: int
    failed: int
    supervoxels: tuple[float, float, float]
    volumes: tuple[float, ...]
    slices: tuple[float, float, float]
    coverage: float
    overlap: float
    duplicates: float


@dataclass(frozen=True)
class LabelSummary:
    """How well supervoxels match a label, or the connected components of a label.

    Attributes:
        label: as in the label map; None: all labels.
        components: whether its connected components are meant, each for itself, or the label as a whole in each case.
        structures: how many there are, in all cases.
        measures: means over structures, by their names in `STRUCTURE_MEASURES`. Structures for which a measure has no
            value are left out; NaN if it has none for all.
    """

    label: int | None
    components: bool
    structures: int
    measures: dict[str, float]


def summarise_dataset(figures: Sequence[CaseFigures]) -> DatasetSummary:
    """Sum up the cases of one dataset."""
    done = [(case.voxel_volume, case.description) for case in figures if case.description is not None]
    counts = [len(description.voxels) for _, description in done]
    volumes = [volume * voxels for volume, description in done for voxels in description.voxels]
    slices = [number for _, description in done for number in description.slices]
    return DatasetSummary(
        cases=len(done),
        failed=len(figures) - len(done),
        supervoxels=_middle_least_most(counts, np.mean),
        volumes=tuple(float(np.percentile(volumes, q)) if volumes else np.nan for q in PERCENTILES),
        slices=_middle_least_most(slices, np.median),
        coverage=mean(description.coverage for _, description in done),
        overlap=mean(description.overlap for _, description in done),
        duplicates=sum(description.duplicates for _, description in done) / sum(counts) if sum(counts) else np.nan,
    )


def summarise_labels(figures: Sequence[CaseFigures]) -> list[LabelSummary]:
    """Sum up each label of one dataset as a whole and by components, and, where there are several, all of them."""
    structures = [structure for case in figures for structure in case.structures]
    labels: list[int | None] = [*sorted({structure.label for structure in structures})]
    if len(labels) > 1:
        labels.append(None)
    return [
        _summarise_label(
            label,
            components,
            [one for one in structures if label in (None, one.label) and components == (one.part > 0)],
        )
        for label in labels
        for components in (False, True)
    ]


def mean(values: Iterable[float]) -> float:
    """The mean of the values that aren't NaN; NaN if there are none."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan


def _summarise_label(label: int | None, components: bool, structures: Sequence[StructureFigures]) -> LabelSummary:
    means = {name: mean(one.measures[name] for one in structures) for name in STRUCTURE_MEASURES}
    return LabelSummary(label, components, len(structures), means)


def _middle_least_most(
    values: Sequence[float], middle: Callable[[Sequence[float]], np.floating]
) -> tuple[float, float, float]:
    return (float(middle(values)), min(values), max(values)) if values else (np.nan, np.nan, np.nan)
