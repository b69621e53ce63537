"""The connected part of a tracked object that belongs to its seed."""

from __future__ import annotations

import cc3d
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nnunetv2_supervoxel.packed_mask import PackedMask, Slabs, slab_ranges


def seed_component(mask: Slabs, seed: Slabs) -> PackedMask | None:
    """The 26-connected component that holds the seed.

    Slabs are labelled one by one; components of two slabs that meet in the slice that both see are one.

    Args:
        mask: boolean (z, y, x).
        seed: boolean, of the same shape.

    Returns:
        Boolean (z, y, x); of several components that the seed touches, the one with most of its voxels.
        None if the seed touches none.
    """
    labels = _SlabLabels(mask)
    links, votes, shared = [], [np.zeros(1, int)], None
    for start, stop in slab_ranges(mask.shape):
        before, slab = labels.count, labels.read(start, stop)
        if shared is not None:
            inside = shared > 0
            links.append(np.unique(np.stack([shared[inside], slab[0][inside]]), axis=1))
        shared = slab[-1].copy()
        of_seed = slab[: stop - start][seed.rows(start, stop)]
        votes.append(np.bincount(of_seed, minlength=labels.count)[before:])
    votes = np.concatenate(votes)
    votes[0] = 0
    if not votes.any():
        return None
    components = _linked(links, labels.count)
    chosen = components == np.bincount(components, votes).argmax()
    return PackedMask(_Chosen(labels, chosen))


class _SlabLabels:
    """Labels of a mask's slabs, unique among all slabs, each read with the first slice of the next.

    Attributes:
        shape: of the mask.
        count: labels given so far, background's 0 among them.
    """

    def __init__(self, mask: Slabs) -> None:
        self._mask, self.shape = mask, mask.shape
        self._first: dict[int, int] = {}  # of a slab, by its first row: labels given before it
        self._last: tuple[int, np.ndarray] | None = None
        self.count = 1

    def read(self, start: int, stop: int) -> np.ndarray:
        if self._last and self._last[0] == start:  # a small mask is one slab, and is labelled once
            return self._last[1]
        mask = np.ascontiguousarray(self._mask.rows(start, min(stop + 1, self.shape[0])))
        labels = cc3d.connected_components(mask, connectivity=26, out_dtype=np.uint32)
        if start not in self._first:
            self._first[start] = self.count - 1
            self.count += int(labels.max())
        labels[mask] += self._first[start]
        self._last = start, labels
        return labels


class _Chosen:
    """Where the labels of a mask's slabs are among those chosen."""

    def __init__(self, labels: _SlabLabels, chosen: np.ndarray) -> None:
        self._labels, self._chosen, self.shape = labels, chosen, labels.shape

    def rows(self, start: int, stop: int) -> np.ndarray:
        return self._chosen[self._labels.read(start, stop)[: stop - start]]


def _linked(links: list[np.ndarray], count: int) -> np.ndarray:
    """The component of each of `count` labels, numbered in their order; links are pairs of labels (2, k)."""
    pairs = np.concatenate([np.zeros((2, 0), int), *links], axis=1)
    graph = coo_array((np.ones(pairs.shape[1], bool), tuple(pairs)), shape=(count, count))
    return connected_components(graph, directed=False)[1]
