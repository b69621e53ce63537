"""The connected part of a tracked object that belongs to its seed."""

from __future__ import annotations

import cc3d
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nnunetv2_supervoxel.masks.packed_masks import PackedMask, Slabs, slab_ranges


def seed_component(mask: Slabs, seed: Slabs) -> PackedMask | None:
    """The 26-connected component that holds the seed.

    Slabs are labelled one by one. Each slab shares a slice with the next. Components that meet there are one.

    Args:
        mask: boolean (z, y, x).
        seed: boolean, of the same shape.

    Returns:
        Boolean (z, y, x). If the seed touches several components, the one that holds most of the seed's voxels.
        None if the seed touches none.
    """
    slabs = _LabelledSlabs(mask)
    links: list[np.ndarray] = []
    votes, shared = [np.zeros(1, int)], None
    for start, stop in slab_ranges(mask.shape):
        labels, before = slabs.read(start, stop)
        if shared is not None:
            inside = shared > 0
            links.append(_distinct_pairs(shared[inside], before + labels[0][inside]))
        shared = np.where(labels[-1] > 0, before + labels[-1], 0)
        of_seed = labels[: stop - start][seed.rows(start, stop)]
        votes.append(np.bincount(of_seed, minlength=slabs.count - before)[1:])
    of_labels = np.concatenate(votes)
    if not of_labels.any():
        return None
    components = _linked(links, slabs.count)
    return PackedMask(_Chosen(slabs, components == np.bincount(components, of_labels).argmax()))


class _LabelledSlabs:
    """A mask's slabs with labelled components. Each slab is labelled together with the first slice of the next.

    Attributes:
        mask: the mask.
        count: how many labels were given so far, the background's 0 included.
    """

    def __init__(self, mask: Slabs) -> None:
        self.mask, self.count = mask, 1
        self.before: dict[int, int] = {}  # by a slab's first row: the last label given before that slab
        self._last: tuple[int, np.ndarray] | None = None

    def read(self, start: int, stop: int) -> tuple[np.ndarray, int]:
        """Labels from 1 on, and what to add to them so that they are unique among all slabs."""
        if self._last is None or self._last[0] != start:  # a small mask is one slab, and is labelled once
            mask = np.ascontiguousarray(self.mask.rows(start, min(stop + 1, self.mask.shape[0])))
            labels, found = cc3d.connected_components(mask, connectivity=26, out_dtype=np.uint32, return_N=True)
            if start not in self.before:
                self.before[start] = self.count - 1
                self.count += found
            self._last = start, labels
        return self._last[1], self.before[start]


class _Chosen:
    """The part of a mask that lies in chosen components. `chosen` has one boolean for every unique label."""

    def __init__(self, slabs: _LabelledSlabs, chosen: np.ndarray) -> None:
        self._slabs, self._chosen, self.shape = slabs, chosen, slabs.mask.shape
        self._last_label = dict(zip(slabs.before, [*list(slabs.before.values())[1:], slabs.count - 1], strict=True))

    def rows(self, start: int, stop: int) -> np.ndarray:
        chosen = self._chosen[self._slabs.before[start] + 1 : self._last_label[start] + 1]
        if chosen.all():  # the usual case, in which no labels are needed
            return self._slabs.mask.rows(start, stop)
        labels, _ = self._slabs.read(start, stop)
        return np.concatenate([[False], chosen])[labels[: stop - start]]


def _distinct_pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The different pairs (2, k) of 32-bit labels. Each pair is packed into one number, because numbers sort fast."""
    pairs = np.unique(first.astype(np.uint64) << np.uint64(32) | second.astype(np.uint64))
    return np.stack([pairs >> np.uint64(32), pairs & np.uint64(0xFFFFFFFF)]).astype(np.int64)


def _linked(links: list[np.ndarray], count: int) -> np.ndarray:
    """The number of the component that each of `count` labels belongs to. Links are pairs of labels (2, k)."""
    pairs = np.concatenate([np.zeros((2, 0), int), *links], axis=1)
    graph = coo_array((np.ones(pairs.shape[1], bool), tuple(pairs)), shape=(count, count))
    return connected_components(graph, directed=False)[1]
