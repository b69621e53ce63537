"""All measures of a case together."""

from __future__ import annotations

import numpy as np
import pytest

from nnunetv2_supervoxel.quality.figures import measure_structures


def test_every_structure_has_every_measure(cuboids, supervoxels_of) -> None:
    structure, part = cuboids(((1, 3), (2, 6), (4, 10))), cuboids(((1, 3), (2, 6), (4, 6)))  # 48 voxels, 16 of them
    labels = np.where(structure, 4, 0)
    labels[5, 9, 14] = 7
    found = {(one.label, one.part): one for one in measure_structures(supervoxels_of(part), labels, ignored=1)}
    assert list(found) == [(4, 0), (4, 1), (7, 0), (7, 1)]
    assert (found[4, 1].voxels, found[7, 0].voxels) == (48, 1)
    assert found[4, 0].measures == found[4, 1].measures
    # All 48 voxels are boundary. So are all 16 of the part, which reaches one voxel further: 24.
    assert found[4, 0].measures == pytest.approx(
        {
            "best_dice": 32 / 64,
            "achievable_dice": 32 / 64,
            "found": 1,
            "boundary_recall": 24 / 48,
            "undersegmentation_error": 0,
        }
    )
    assert found[7, 1].measures == pytest.approx(
        {
            "best_dice": 0,
            "achievable_dice": 0,
            "found": 0,
            "boundary_recall": 0,
            "undersegmentation_error": np.nan,
        },
        nan_ok=True,
    )
