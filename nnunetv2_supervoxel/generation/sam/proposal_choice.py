"""Which proposals become supervoxels, if there are more than are wanted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnunetv2_supervoxel.generation.sam.proposals import Proposal

_SIZES = 4  # classes of size that take turns


def choose_proposals(
    proposals: Sequence[Proposal], count: int, choice: str, rng: np.random.Generator
) -> list[Proposal]:
    """Up to `count` of the proposals on a slice.

    Args:
        proposals: best predicted IoU first.
        count: how many are wanted.
        choice: "random", "score" or "diverse", as in the config.
        rng: draws at random.
    """
    if choice == "random":
        return [proposals[i] for i in rng.permutation(len(proposals))[:count]]
    if choice == "diverse" and count < len(proposals):
        return [proposals[i] for i in _diverse(proposals, count)]
    return list(proposals[:count])


def _diverse(proposals: Sequence[Proposal], count: int) -> list[int]:
    """Indices: sizes take turns, and the one of a size is taken that lies farthest from all taken before.

    Sizes are classes with equally many proposals. Distances are between centroids (Gonzalez, 1985: farthest first).
    """
    areas = np.array([np.count_nonzero(proposal.mask) for proposal in proposals])
    centroids = np.array([np.argwhere(proposal.mask).mean(0) for proposal in proposals])
    sizes = areas.argsort(kind="stable").argsort() * _SIZES // len(proposals)
    nearest, left, taken = np.full(len(proposals), np.inf), np.ones(len(proposals), bool), []
    for turn in range(len(proposals) * _SIZES):
        of_size = np.flatnonzero(left & (sizes == turn % _SIZES))
        if not of_size.size:
            continue
        chosen = int(of_size[nearest[of_size].argmax()])  # the first of equals, which SAM rates best
        taken.append(chosen)
        left[chosen] = False
        nearest = np.minimum(nearest, np.linalg.norm(centroids - centroids[chosen], axis=1))
        if len(taken) == count:
            break
    return taken
