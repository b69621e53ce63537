"""The structures of a label map: each label as a whole, and each of its connected components."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from scipy.sparse import coo_array, csc_array

from nnunetv2_supervoxel.masks.packed_masks import slab_ranges


@dataclass(frozen=True, eq=False)
class Structures:
    """The s structures of a case. They are made of k connected components.

    Attributes:
        components: unsigned integers (z, y, x): number of the component in which a voxel lies, from 1; 0: in none.
        labels: (s,) the label of each structure; a label's structures follow each other.
        parts: (s,) 0: the label as a whole, which comes first; else the component's number among its label's, from 1.
        members: sparse (k + 1, s), 1 where a component (row) is part of a structure (column); row 0 is empty.
        voxels: (s,) sizes.
    """

    components: np.ndarray
    labels: np.ndarray
    parts: np.ndarray
    members: csc_array
    voxels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def count(self, chosen: np.ndarray) -> np.ndarray:
        """How many voxels of each structure are chosen: (s,), from boolean (z, y, x)."""
        return self.members.T @ np.bincount(self.components[chosen], minlength=self.members.shape[0])

    def components_of(self, structure: int) -> np.ndarray:
        """Boolean (k + 1,): which components a structure is made of."""
        chosen = np.zeros(self.members.shape[0], bool)
        chosen[self.members.indices[self.members.indptr[structure] : self.members.indptr[structure + 1]]] = True
        return chosen


def find_structures(label_map: np.ndarray, ignored: int | None = None) -> Structures:
    """The labels above 0 and their 26-connected components.

    Args:
        label_map: integers (z, y, x).
        ignored: a label that is none.
    """
    visible = label_map > 0
    if ignored is not None:
        visible &= label_map != ignored
    components, count = cc3d.connected_components(label_map * visible, connectivity=26, return_N=True)
    label_of, voxels = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    for start, stop in slab_ranges(components.shape):  # as indices, numbers take 8 bytes each
        slab = components[start:stop]
        label_of[slab] = label_map[start:stop]
        voxels += np.bincount(slab.ravel(), minlength=count + 1)
    return _structures(components, label_of[1:], voxels)


def _structures(components: np.ndarray, label_of: np.ndarray, voxels: np.ndarray) -> Structures:
    """Structures in their order, from the label (k,) of every component and its size (k + 1,)."""
    wholes, which, pieces = np.unique(label_of, return_inverse=True, return_counts=True)
    order = np.argsort(which, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    before = np.cumsum(pieces) - pieces  # components of lower labels
    of_whole, of_component = before + np.arange(len(wholes)), rank + which + 1
    labels, parts = np.zeros((2, len(wholes) + len(label_of)), np.int64)
    labels[of_whole], labels[of_component] = wholes, label_of
    parts[of_component] = rank - before[which] + 1
    rows = 1 + np.arange(len(label_of))
    pairs = np.concatenate([rows, rows]), np.concatenate([of_whole[which], of_component])
    members = coo_array((np.ones(2 * len(rows), np.int64), pairs), (len(voxels), len(labels))).tocsc()
    return Structures(components, labels, parts, members, members.T @ voxels)
