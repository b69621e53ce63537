"""Classes of supervoxels that need no labels.

They are clusters of supervoxels of similar place, size and shape over all cases (after Caron et al., 2018, who cluster
a network's features).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from scipy.cluster.vq import kmeans2, vq
from scipy.spatial import ConvexHull, QhullError

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.training.dataset import UNKNOWN, Bounds, PromptCase, PromptDataset

OUTSIDE = 0  # around all supervoxels; classes count from 1
MAX_CASES = 500  # most cases of a dataset that its classes are made from
_ROWS = 1000  # of a supervoxel's class locations: enough for its place and extent
_HULL_CELLS = 32  # along every axis, of the grid that stores the hull around all supervoxels
_LEFT_RIGHT = 2


class SupervoxelClasses:
    """Which class a supervoxel of a dataset belongs to.

    Args:
        dataset: its cases give the classes, `MAX_CASES` of them at most.
        count: number of classes; fewer if there are fewer supervoxels.
        first: number of the first class.

    Raises:
        UserError: no case can be read, or no supervoxel has a voxel.
    """

    def __init__(self, dataset: PromptDataset, count: int, first: int = 1) -> None:
        rng = np.random.default_rng(0)
        cases = rng.permutation(dataset.identifiers)[:MAX_CASES].tolist()
        descriptors = np.concatenate([_descriptors(locations) for locations in dataset.read_locations(cases)])
        count = min(count, len(np.unique(descriptors, axis=0)))
        if count == 0:
            raise UserError(f"The supervoxels in {dataset.supervoxel_folder} are empty; generate them again.")
        self.first = first
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "One of the clusters is empty")  # then there is one class fewer
            self.centres, _ = kmeans2(descriptors, count, minit="++", seed=0)
        self._known: dict[str, dict[int, int]] = {}
        self._hulls: dict[str, _Hull] = {}

    def __len__(self) -> int:
        return len(self.centres)

    def of(self, case: PromptCase) -> dict[int, int]:
        """The class of every supervoxel of a case, by the key of its class locations. The largest come first."""
        if case.name not in self._known:
            keys, descriptors = _visible(case.supervoxel_locations), _descriptors(case.supervoxel_locations)
            nearest, _ = vq(descriptors, self.centres)
            # The number of class locations isn't used: they are a sample, which says little about large supervoxels.
            order = np.argsort(-descriptors[:, 3:].prod(axis=1), kind="stable")
            self._known[case.name] = {keys[i]: int(nearest[i]) + self.first for i in order}
        return self._known[case.name]

    def patch(self, case: PromptCase, bounds: Bounds) -> np.ndarray:
        """int16 (*patch): the class of the smallest supervoxel that holds a voxel, else `OUTSIDE` or `UNKNOWN`."""
        classes = self.of(case)
        if not classes:
            return np.full([last - first for first, last in bounds], UNKNOWN, np.int16)
        if case.name not in self._hulls:
            self._hulls[case.name] = _Hull(case.supervoxel_locations)
        named = np.where(self._hulls[case.name].patch(bounds), UNKNOWN, OUTSIDE).astype(np.int16)
        within = set(case.keys_within(bounds))
        for key, number in classes.items():
            if key in within:
                named[case.supervoxel_patch(key, bounds)] = number
        return named


class _Hull:
    """The approximate convex hull of all supervoxels of a case.

    Args:
        locations: class locations (k, 4) of every supervoxel, not all of them empty.
    """

    def __init__(self, locations: dict[int, np.ndarray]) -> None:
        points = np.concatenate([_some(rows) for rows in locations.values()])
        self._low, high = points.min(axis=0), points.max(axis=0) + 1
        self._size = high - self._low
        cells = (np.indices([_HULL_CELLS] * 3).reshape(3, -1).T + 0.5) / _HULL_CELLS
        try:
            planes = ConvexHull(points - self._low + 0.5).equations
        except QhullError:  # all points lie in one plane, or are too few
            planes = np.zeros((0, 4))
        inside = np.ones(len(cells), bool)
        for *normal, offset in planes:
            inside &= cells * self._size @ normal + offset <= 0.5  # whole voxels, not only their middles
        self._inside = inside.reshape([_HULL_CELLS] * 3)

    def patch(self, bounds: Bounds) -> np.ndarray:
        """Boolean (*patch): True inside the hull."""
        inside = self._inside
        for axis, (first, last) in enumerate(bounds):
            cells = (2 * (np.arange(first, last) - self._low[axis]) + 1) * _HULL_CELLS // (2 * self._size[axis])
            within = (cells >= 0) & (cells < _HULL_CELLS)
            inside = inside.take(cells.clip(0, _HULL_CELLS - 1), axis)
            inside &= within.reshape([-1 if i == axis else 1 for i in range(3)])
        return inside


def _some(rows: np.ndarray) -> np.ndarray:
    """Voxels (k, 3) of a supervoxel's class locations, `_ROWS` at most."""
    return rows[:: -(-len(rows) // _ROWS) or 1, 1:]


def _visible(locations: dict[int, np.ndarray]) -> list[int]:
    return [key for key, rows in locations.items() if len(rows)]


def _descriptors(locations: dict[int, np.ndarray]) -> np.ndarray:
    """Place and extent (k, 6) of the supervoxels that have a voxel, relative to the box around all of them.

    Left and right count as the same, because nnU-Net mirrors images in training: the distance from the middle is used.
    """
    voxels = [_some(locations[key]) for key in _visible(locations)]
    if not voxels:
        return np.zeros((0, 6))
    low, high = np.min([v.min(axis=0) for v in voxels], axis=0), np.max([v.max(axis=0) for v in voxels], axis=0)
    size = np.maximum(high - low, 1)
    centres = np.array([(v.mean(axis=0) - low) / size - 0.5 for v in voxels])
    centres[:, _LEFT_RIGHT] = np.abs(centres[:, _LEFT_RIGHT])
    return np.hstack([centres, [v.std(axis=0) / size for v in voxels]])


def make_classes(datasets: Sequence[PromptDataset], count: int) -> list[SupervoxelClasses]:
    """Classes of each dataset. No two share a number, because the same place may be another part of the body."""
    made: list[SupervoxelClasses] = []
    for dataset in datasets:
        made.append(SupervoxelClasses(dataset, count, first=1 + sum(map(len, made))))
    return made
