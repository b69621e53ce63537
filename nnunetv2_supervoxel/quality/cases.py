"""One case: where it is read from, and its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_supervoxel.errors import NotWritableError, UserError, unexpected
from nnunetv2_supervoxel.files.nnunet_folders import read_plans
from nnunetv2_supervoxel.files.preprocessed import PreprocessedDataset, locate_dataset, open_case, read_preprocessed
from nnunetv2_supervoxel.files.supervoxel_files import read_provenance
from nnunetv2_supervoxel.masks.foreground import foreground
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet
from nnunetv2_supervoxel.quality.description import describe, grey_levels
from nnunetv2_supervoxel.quality.figures import CaseFigures, StructureFigures, measure_structures
from nnunetv2_supervoxel.quality.inputs import EvaluatedDataset
from nnunetv2_supervoxel.quality.label_maps import read_label_map
from nnunetv2_supervoxel.quality.reading import list_described, read_supervoxels

Figures = TypeVar("Figures")


@dataclass(frozen=True, kw_only=True)
class EvaluatedCase:
    """Where a case is read from: plain values, so that it can be sent to another process.

    Attributes:
        name: identifier.
        located: its dataset, of which no other case is listed.
        supervoxels: folder of the supervoxels.
        plans: name of the plans.
        configuration: one of them.
        own_labels: whether the segmentation beside the preprocessed case is the label map.
        label_map: file with the label map otherwise; None if there is none.
        ignored: a label that is none.
    """

    name: str
    located: PreprocessedDataset
    supervoxels: Path
    plans: str
    configuration: str
    own_labels: bool
    label_map: Path | None
    ignored: int | None

    @cached_property
    def spacing(self) -> tuple[float, ...]:
        """(z, y, x) in mm.

        Raises:
            UserError: images keep their own, and what nnU-Net noted of the case can't be read.
        """
        return self.located.spacing_of(self.name)

    def evaluate(self) -> CaseFigures:
        """The case's figures. What goes wrong is their `error`, never raised."""
        return attempt(self._figures, self.failed)

    def failed(self, reason: str) -> CaseFigures:
        """What stands for the figures of a case that can't be evaluated."""
        return CaseFigures(self.located.folder.name, self.name, error=reason)

    def read(self) -> tuple[np.ndarray, SupervoxelSet]:
        """The image in grey levels, uint8 (z, y, x), and the supervoxels.

        Raises:
            UserError: files are missing or damaged, or don't fit each other.
        """
        levels = self._grey_levels()
        z, y, x = levels.shape
        return levels, read_supervoxels(self.supervoxels, self.name, (z, y, x))

    def describe(self, levels: np.ndarray, supervoxels: SupervoxelSet) -> CaseFigures:
        """What can be said without labels of what `read` gave."""
        return CaseFigures(
            dataset=self.located.folder.name,
            case=self.name,
            voxel_volume=float(np.prod(self.spacing)),
            description=describe(supervoxels, foreground(levels)),
        )

    def _figures(self) -> CaseFigures:
        levels, supervoxels = self.read()
        structures = self._structures(supervoxels, supervoxels.shape)
        return replace(self.describe(levels, supervoxels), structures=structures)

    def _grey_levels(self) -> np.ndarray:
        """The image (z, y, x), or of several channels the first one that the models saw."""
        provenance = read_provenance(self.supervoxels, self.name)
        list_described(self.supervoxels, self.name, provenance)  # says what is wrong with it
        channels = provenance.get("config", {}).get("channel", 0)
        first = int(np.atleast_1d(channels)[0])
        return grey_levels(read_preprocessed(self.located.cases, self.name, (first,), self.spacing).array[0])

    def _structures(self, supervoxels: SupervoxelSet, shape: tuple[int, int, int]) -> tuple[StructureFigures, ...]:
        """Figures of the structures in the label map, if there is one.

        Raises:
            UserError: the case or the label map can't be read, or they don't fit.
        """
        _, segmentation, properties = open_case(self.located.cases, self.name)
        if self.own_labels:
            return measure_structures(supervoxels, np.asarray(segmentation[0]), self.ignored)
        if self.label_map is None:
            return ()
        manager = PlansManager(read_plans(self.located.folder, self.plans, self.configuration))
        configuration = manager.get_configuration(self.configuration)
        label_map = read_label_map(self.label_map, shape, properties, manager, configuration)
        return measure_structures(supervoxels, label_map, self.ignored)


def attempt(work: Callable[[], Figures], failed: Callable[[str], Figures]) -> Figures:
    """What `work` returns; if anything goes wrong, what `failed` makes of the reason, one sentence.

    One bad case must not stop the others.

    Raises:
        NotWritableError: the next case would fare the same.
    """
    try:
        return work()
    except NotWritableError:
        raise
    except UserError as error:
        return failed(str(error))
    except MemoryError:
        return failed("it doesn't fit into memory; use fewer processes (-np).")
    except Exception as error:
        return failed(unexpected(error))


def list_cases(dataset: EvaluatedDataset) -> Iterator[EvaluatedCase]:
    """The cases of a dataset that are evaluated.

    Raises:
        UserError: nnU-Net can't read its preprocessed cases.
    """
    located = locate_dataset(dataset.name, dataset.plans, dataset.configuration)
    preprocessed, kind = str(dataset.folder / dataset.data_identifier), type(located.cases)
    for name in dataset.cases:
        yield EvaluatedCase(
            name=name,
            located=replace(located, cases=kind(preprocessed, [name])),
            supervoxels=dataset.supervoxels,
            plans=dataset.plans,
            configuration=dataset.configuration,
            own_labels=dataset.label_maps is None,
            label_map=(dataset.label_maps or {}).get(name),
            ignored=dataset.labels.ignored,
        )
