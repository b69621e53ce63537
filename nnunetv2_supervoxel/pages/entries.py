"""What a dataset's page says of one case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from nnunetv2_supervoxel.files.preprocessed import open_case
from nnunetv2_supervoxel.files.supervoxel_files import read_provenance
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet
from nnunetv2_supervoxel.pages.orientation import Orientation
from nnunetv2_supervoxel.pages.thumbnails import thumbnail
from nnunetv2_supervoxel.quality.cases import EvaluatedCase, attempt, list_cases
from nnunetv2_supervoxel.quality.figures import CaseFigures
from nnunetv2_supervoxel.quality.inputs import EvaluatedDataset
from nnunetv2_supervoxel.quality.reading import list_described
from nnunetv2_supervoxel.quality.summary import summarise_dataset

Status = Literal["done", "empty", "failed", "missing"]
_MADE_BY = ("packages", "checkpoints", "config", "device")


@dataclass(frozen=True)
class Entry:
    """One case on the page.

    Attributes:
        case: identifier.
        status: "done"; "empty": nothing was found in it; "failed": its files can't be read; "missing": it has none.
        figures: its measures; `figures.error` says why it failed, here or in generation.
        volume_share: of the case's voxels, in the largest supervoxel.
        predicted_iou: of every supervoxel that has one.
        consistency: of every supervoxel that has one.
        notes: what generation noted about the case.
        made_by: what its JSON says of how it was made, the same for all cases of one run.
        thumbnail: WebP, or nothing.
    """

    case: str
    status: Status
    figures: CaseFigures
    volume_share: float = 0.0
    predicted_iou: tuple[float, ...] = ()
    consistency: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    made_by: Mapping[str, Any] = field(default_factory=dict)
    thumbnail: bytes = b""

    @property
    def numbers(self) -> dict[str, float]:
        """What is shown and compared of a case that could be read: NaN where there is no value."""
        described, alone = self.figures.description, summarise_dataset([self.figures])
        if described is None:
            return {}
        return {
            "supervoxels": len(described.voxels),
            "volume": alone.volumes[2],
            "slices": alone.slices[0],
            "coverage": described.coverage,
            "overlap": described.overlap,
            "duplicates": described.duplicates,
            "predicted_iou": _median(self.predicted_iou),
            "consistency": _median(self.consistency),
        }


@dataclass(frozen=True)
class CaseToShow:
    """A case with supervoxel files, which can be sent to another process.

    Attributes:
        case: where it is read from.
        transpose: the plans' `transpose_forward`.
    """

    case: EvaluatedCase
    transpose: tuple[int, ...]

    def evaluate(self) -> Entry:
        """What the page says of it. A case that can't be read has failed; nothing is raised."""
        return attempt(self._entry, self.failed)

    def failed(self, reason: str) -> Entry:
        """What stands for a case that can't be read."""
        return Entry(self.case.name, "failed", self.case.failed(reason))

    def read(self) -> tuple[np.ndarray, SupervoxelSet, Orientation]:
        """The image in grey levels, uint8 (z, y, x), the supervoxels, and how the case lies.

        Raises:
            UserError: files are missing or damaged, or don't fit each other.
        """
        levels, supervoxels = self.case.read()
        properties = open_case(self.case.located.cases, self.case.name)[2]
        return levels, supervoxels, Orientation.of_case(properties, self.transpose, self.case.spacing)

    def _entry(self) -> Entry:
        provenance = read_provenance(self.case.supervoxels, self.case.name)
        list_described(self.case.supervoxels, self.case.name, provenance)  # raises if generation didn't write it
        levels, supervoxels, orientation = self.read()
        largest = max((one.voxels for one in supervoxels.supervoxels), default=0)
        return Entry(
            case=self.case.name,
            status="done" if len(supervoxels) else "empty",
            figures=self.case.describe(levels, supervoxels),
            volume_share=largest / levels.size,
            predicted_iou=_known(one.predicted_iou for one in supervoxels.supervoxels),
            consistency=_known(one.consistency for one in supervoxels.supervoxels),
            notes=tuple(provenance.get("notes", ())),
            made_by={key: provenance[key] for key in _MADE_BY if key in provenance},
            thumbnail=thumbnail(levels, supervoxels, orientation),
        )


def cases_to_show(dataset: EvaluatedDataset, transpose: tuple[int, ...]) -> list[CaseToShow]:
    """The cases of a dataset that have supervoxel files.

    Raises:
        UserError: nnU-Net can't read its preprocessed cases.
    """
    return [CaseToShow(case, transpose) for case in list_cases(dataset)]


def missing(dataset: str, case: str, reason: str) -> Entry:
    """Of a case that has no supervoxel files; the reason may be nothing."""
    return Entry(case, "missing", CaseFigures(dataset, case, error=reason))


def _known(values: Iterator[float | None]) -> tuple[float, ...]:
    return tuple(value for value in values if value is not None)


def _median(values: tuple[float, ...]) -> float:
    return float(np.median(values)) if values else np.nan
