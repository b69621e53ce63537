"""Random streams that depend on (seed, case name, purpose) alone, so that order and number of workers never matter."""

from __future__ import annotations

import hashlib

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
