"""What nnU-Net's plans say, as far as supervoxels depend on it."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from bad_inputs.bad_files import PLANS

from nnunetv2_supervoxel.files.planned import check_planned


def test_slices_of_a_2d_configuration_are_as_far_apart_as_those_of_the_images() -> None:
    """The plans' median spacing is in the order of the transposed axes already, as its name says."""
    plans = deepcopy(PLANS)
    plans |= {"transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0]}
    plans["original_median_spacing_after_transp"] = [3.0, 1.1, 0.8]
    plans["configurations"]["2d"] = plans["configurations"]["3d_fullres"] | {
        "spacing": [0.9, 0.9],
        "patch_size": [16, 16],
    }
    assert check_planned(plans, "2d", Path("plans.json")).spacing == (3.0, 0.9, 0.9)
