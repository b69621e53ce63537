"""Random streams, and drawing from them.

A stream depends on seed, case name and purpose alone. So the order of cases and the number of workers never matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


def case_generator(seed: int, case: str, purpose: str) -> np.random.Generator:
    """A generator for one use in one case.

    Args:
        seed: the user's seed.
        case: case identifier.
        purpose: what is drawn, such as "keyframe"; streams of different purposes are independent.
    """
    digest = hashlib.sha256(f"{seed}\0{case}\0{purpose}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


def weighted_choice(weights: np.ndarray | Sequence[float], rng: np.random.Generator) -> int:
    """An index, drawn with probability proportional to its weight. It is what `rng.choice` draws, but comes faster.

    Args:
        weights: (n,), not negative, not all 0.
        rng: one number is drawn from it.
    """
    cumulated = np.cumsum(weights, dtype=np.float64)
    return int(cumulated.searchsorted(rng.random() * cumulated[-1], side="right"))
