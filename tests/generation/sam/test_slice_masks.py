from __future__ import annotations

import numpy as np

from nnunetv2_supervoxel.generation.sam.slice_masks import touching


def test_touching_is_26_adjacency() -> None:
    before, after = np.zeros((2, 4, 6, 8), bool)
    before[:, 2, 3] = True
    after[0, 3, 4] = True  # across the corner
    after[1, 2, 5] = True  # two columns away
    after[3, 2, 3:6] = True  # overlap
    assert touching(before, after).tolist() == [True, False, False, True]
