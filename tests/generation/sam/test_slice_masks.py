from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from nnunetv2_supervoxel.generation.sam import slice_masks
from nnunetv2_supervoxel.generation.sam.slice_masks import touching


def test_touching_is_26_adjacency() -> None:
    before, after = np.zeros((2, 4, 6, 8), bool)
    before[:, 2, 3] = True
    after[0, 3, 4] = True  # across the corner
    after[1, 2, 5] = True  # two columns away
    after[3, 2, 3:6] = True  # overlap
    assert touching(before, after).tolist() == [True, False, False, True]


def test_masks_are_enlarged_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many objects there are, and none of them changes another."""
    logits = torch.randn(7, 1, 5, 6)
    whole = slice_masks.masks_of_logits(logits, (17, 23))
    enlarged = []

    def enlarge(some: torch.Tensor, **settings: object) -> torch.Tensor:
        enlarged.append(len(some))
        return interpolate(some, **settings)

    interpolate = F.interpolate
    monkeypatch.setattr(slice_masks.F, "interpolate", enlarge)
    monkeypatch.setattr(slice_masks, "_PIXELS_AT_ONCE", 3 * 17 * 23)
    np.testing.assert_array_equal(slice_masks.masks_of_logits(logits, (17, 23)), whole)
    assert enlarged == [3, 3, 1]
    assert slice_masks.masks_of_logits(logits[:0], (17, 23)).shape == (0, 17, 23)
