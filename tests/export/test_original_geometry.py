"""A mask that is brought back in its bounding box is, to the voxel, what nnU-Net makes of the whole volume."""

from __future__ import annotations

import numpy as np
import pytest
from acvl_utils.cropping_and_padding.bounding_boxes import insert_crop_into_image
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_supervoxel.export.original_geometry import Box, OriginalGeometry

BEFORE = (24, 41, 52)  # z, y, x in voxels, as nnU-Net transposed the original image
CROP = [[2, 22], [3, 39], [4, 49]]
CROPPED = (20, 36, 45)
BACKWARD = (1, 2, 0)
DEFAULT = ("resample_data_or_seg_to_shape", {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None})
SPLINES = (DEFAULT[0], DEFAULT[1] | {"order": 3})
TORCH = ("resample_torch_fornnunet", {"is_seg": False, "force_separate_z": None})
NONE = ("no_resampling_hack", {})


def plans(function: tuple[str, dict], spacing: tuple[float, ...]) -> PlansManager:
    """Of a dataset that is resampled to `spacing`."""
    name, settings = function
    configuration = {"architecture": {}, "spacing": spacing}
    configuration |= {"resampling_fn_probabilities": name, "resampling_fn_probabilities_kwargs": settings}
    return PlansManager(
        {
            "image_reader_writer": "SimpleITKIO",
            "transpose_forward": (2, 0, 1),
            "transpose_backward": BACKWARD,
            "configurations": {"3d_fullres": configuration},
        }
    )


def geometry(manager: PlansManager, here: tuple[int, ...]) -> OriginalGeometry:
    properties = {
        "sitk_stuff": {},
        "spacing": [1.1, 0.8, 3.0],
        "shape_before_cropping": BEFORE,
        "bbox_used_for_cropping": CROP,
        "shape_after_cropping_and_before_resampling": CROPPED,
    }
    return OriginalGeometry(properties, manager, manager.get_configuration("3d_fullres"), here)


def whole_way(mask: np.ndarray, manager: PlansManager) -> np.ndarray:
    """nnU-Net's steps on a volume: boolean, in the original image."""
    configuration = manager.get_configuration("3d_fullres")
    share = configuration.resampling_fn_probabilities(
        mask[None].astype(np.float32), CROPPED, configuration.spacing, (3.0, 1.1, 0.8)
    )
    return insert_crop_into_image(np.zeros(BEFORE, bool), np.asarray(share[0]) > 0.5, CROP).transpose(BACKWARD)


def boxes(shape: tuple[int, ...]) -> list[Box]:
    """The whole volume, a corner, the opposite corner, a column, and something inside."""
    z, y, x = shape
    return [
        (slice(0, z), slice(0, y), slice(0, x)),
        (slice(0, 5), slice(0, 9), slice(0, 7)),
        (slice(z - 6, z), slice(y - 3, y), slice(x - 11, x)),
        (slice(0, z), slice(y - 2, y), slice(4, 6)),
        (slice(3, 8), slice(7, 19), slice(10, 13)),
    ]


@pytest.mark.parametrize(
    ("function", "spacing", "here", "exact"),
    [
        (DEFAULT, (1.2, 0.9, 2.2), (50, 44, 16), True),
        (DEFAULT, (3.0, 0.55, 0.8), (20, 72, 45), True),
        (DEFAULT, (6.0, 1.3, 1.9), (10, 30, 19), True),
        (SPLINES, (1.2, 0.9, 2.2), (50, 44, 16), True),
        (TORCH, (1.2, 0.9, 2.2), (50, 44, 16), False),
        (TORCH, (6.0, 1.3, 1.9), (10, 30, 19), False),
        (NONE, (3.0, 1.1, 0.8), CROPPED, True),
    ],
    ids=["default", "halved", "thick slices", "splines", "torch", "torch, thick slices", "not resampled"],
)
def test_boxes_come_back_as_whole_volumes_do(
    function: tuple[str, dict], spacing: tuple[float, ...], here: tuple[int, ...], exact: bool
) -> None:
    manager = plans(function, spacing)
    there = geometry(manager, here)
    rng = np.random.default_rng(0)
    for box in boxes(here):
        mask = np.zeros(here, bool)
        mask[box] = rng.random(mask[box].shape) > 0.3  # ragged, so that many voxels are near one half
        expected = whole_way(mask, manager)
        part, place = there.bring_back(mask[box], box)
        found = np.zeros(there.shape, bool)
        found[place] = part
        assert expected.any()
        # PyTorch computes in single precision: ties may go the other way.
        agreed = 2 * (found & expected).sum() / (found.sum() + expected.sum())
        assert np.array_equal(found, expected) if exact else agreed >= 0.999


def test_only_the_box_is_resampled() -> None:
    there = geometry(plans(DEFAULT, (1.2, 0.9, 2.2)), (50, 44, 16))
    part, place = there.bring_back(np.ones((5, 12, 3), bool), (slice(3, 8), slice(7, 19), slice(10, 13)))
    assert part.shape == tuple(side.stop - side.start for side in place)
    assert part.any()
    assert part.size < 0.1 * np.prod(there.shape)


def test_nothing_comes_back_as_nothing() -> None:
    there = geometry(plans(DEFAULT, (1.2, 0.9, 2.2)), (50, 44, 16))
    part, place = there.bring_back(np.zeros((0, 0, 0), bool), (slice(0, 0),) * 3)
    assert part.size == 0
    assert np.zeros(there.shape)[place].size == 0
