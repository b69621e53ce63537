"""The figures of one case, and of each structure in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet
from nnunetv2_supervoxel.quality.description import Description
from nnunetv2_supervoxel.quality.measures import STRUCTURE_MEASURES
from nnunetv2_supervoxel.quality.overlap_counts import Overlaps
from nnunetv2_supervoxel.quality.structures import find_structures


@dataclass(frozen=True)
class StructureFigures:
    """Figures of one structure.

    Attributes:
        label: as in the label map.
        part: 0: the label as a whole; else the number of its connected component, from 1.
        voxels: its size.
        measures: by their names in `STRUCTURE_MEASURES`; NaN where a measure has no value.
    """

    label: int
    part: int
    voxels: int
    measures: dict[str, float]


@dataclass(frozen=True)
class CaseFigures:
    """Figures of one case.

    Attributes:
        dataset: its name.
        case: identifier.
        voxel_volume: of one voxel, in mm³.
        description: of the supervoxels; None if the case failed.
        structures: empty if there are no labels.
        error: why the case failed, one sentence, or nothing.
    """

    dataset: str
    case: str
    voxel_volume: float = float("nan")
    description: Description | None = None
    structures: tuple[StructureFigures, ...] = ()
    error: str = ""


def measure_structures(
    supervoxels: SupervoxelSet, label_map: np.ndarray, ignored: int | None = None
) -> tuple[StructureFigures, ...]:
    """Figures of every label above 0, and of each of its 26-connected components.

    Args:
        supervoxels: of the case.
        label_map: integers (z, y, x), on the same grid.
        ignored: a label that is none.
    """
    structures = find_structures(label_map, ignored)
    overlaps = Overlaps(supervoxels, structures)
    columns = {name: measure(overlaps) for name, measure in STRUCTURE_MEASURES.items()}
    return tuple(
        StructureFigures(
            label=int(structures.labels[i]),
            part=int(structures.parts[i]),
            voxels=int(structures.voxels[i]),
            measures={name: float(column[i]) for name, column in columns.items()},
        )
        for i in range(len(structures))
    )
