"""How many voxels supervoxels share with structures, which most measures are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import coo_array, csr_array

from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet
from nnunetv2_supervoxel.quality.structures import Structures


@dataclass(frozen=True, eq=False)
class Overlaps:
    """The n supervoxels of a case against its s structures.

    Attributes:
        supervoxels: of the case.
        structures: on the same grid.
    """

    supervoxels: SupervoxelSet
    structures: Structures

    @cached_property
    def sizes(self) -> np.ndarray:
        """(n,) voxels of every supervoxel."""
        return np.array([one.voxels for one in self.supervoxels.supervoxels], np.int64)

    @cached_property
    def shared(self) -> coo_array:
        """Sparse (n, s): voxels that a supervoxel (row) has in a structure (column). Only pairs that share some."""
        components = self.structures.components
        counts, rows, columns = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for row, one in enumerate(self.supervoxels.supervoxels):
            found = np.bincount(components[one.slices][one.mask], minlength=1)
            found[0] = 0  # voxels in no structure
            columns.append(np.flatnonzero(found))
            counts.append(found[columns[-1]])
            rows.append(np.full(len(columns[-1]), row))
        shape = (len(self.supervoxels), self.structures.members.shape[0])
        with_components = csr_array((np.concatenate(counts), (np.concatenate(rows), np.concatenate(columns))), shape)
        return (with_components @ self.structures.members).tocoo()
