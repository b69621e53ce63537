"""SAM 2's proposals against the official generator, which gets the same slice."""

from __future__ import annotations

from pathlib import Path

import cc3d
import numpy as np
import pytest
import torch
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.modeling.sam2_base import SAM2Base

from nnunetv2_supervoxel import GenerationConfig, SupervoxelGenerator, checkpoints
from nnunetv2_supervoxel.checkpoints.loading import load_sam2
from nnunetv2_supervoxel.generation.intensity import to_uint8_rgb
from nnunetv2_supervoxel.generation.sam.encoding import SliceEncoder
from nnunetv2_supervoxel.generation.sam.sam2_proposals import Sam2Proposer

# The bundled SAM 2 was never shown points: its masks mean nothing here, but both generators must get the same ones.
SETTINGS = {
    "points_per_side": 8,
    "points_per_batch": 16,
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.0,
    "box_nms_thresh": 0.98,
    "crop_nms_thresh": 0.98,
    "min_mask_region_area": 0,
}
BUNDLED = str(Path(checkpoints.__file__).parent / "weights/tiny_sam2.safetensors")


@pytest.fixture(scope="module")
def sam2() -> SAM2Base:
    return load_sam2("bundled").model


def proposer(sam2: SAM2Base, **settings: object) -> Sam2Proposer:
    config = GenerationConfig(sam1_checkpoint=None, sam2_checkpoint=BUNDLED, crop_n_layers=0, min_proposal_area=1)
    return Sam2Proposer(sam2, config.model_copy(update=SETTINGS | settings), "float32")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("crops", [0, 1])
def test_proposals_are_the_official_generators(sam2: SAM2Base, brain_slice: np.ndarray, crops: int) -> None:
    official = SAM2AutomaticMaskGenerator(load_sam2("bundled").model, crop_n_layers=crops, **SETTINGS)
    size = sam2.image_size // 4
    official.predictor._bb_feat_sizes = [(size >> level, size >> level) for level in range(3)]  # fixed for 1024 there
    pixels = to_uint8_rgb(brain_slice)
    expected = sorted(official.generate(pixels), key=lambda record: -record["predicted_iou"])
    ours = proposer(sam2, crop_n_layers=crops, crop_n_points_downscale_factor=1)(
        np.moveaxis(pixels, -1, 0).astype(np.float32) / 255
    )
    assert len(ours) == len(expected) > 1
    for proposal, record in zip(ours, expected, strict=True):
        assert proposal.predicted_iou == pytest.approx(record["predicted_iou"], abs=1e-4)
        assert np.mean(proposal.mask != record["segmentation"]) < 1e-3


def test_the_slice_is_encoded_once_for_proposals_and_propagation(sam2: SAM2Base, brain_slice: np.ndarray) -> None:
    propose = proposer(sam2)
    propose(brain_slice)
    with torch.inference_mode():
        [expected] = SliceEncoder(sam2)([brain_slice])
    for ours, theirs in zip(propose.features.maps, expected.maps, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_small_regions_are_removed(sam2: SAM2Base, brain_slice: np.ndarray) -> None:
    def islands(least: int) -> int:
        found = proposer(sam2, min_mask_region_area=least)(brain_slice)
        assert found
        sizes = [np.bincount(cc3d.connected_components(p.mask, connectivity=8).ravel())[1:] for p in found]
        return sum(int((of_mask < 40).sum()) for of_mask in sizes if len(of_mask) > 1)

    assert islands(0) > 0
    assert islands(40) == 0


@pytest.mark.parametrize("settings", [{"pred_iou_thresh": 1.0}, {"pred_iou_thresh": 1.0, "crop_n_layers": 1}])
def test_nothing_above_the_thresholds_is_no_error(sam2: SAM2Base, brain_slice: np.ndarray, settings: dict) -> None:
    assert proposer(sam2, **settings)(brain_slice) == []


def test_one_checkpoint_is_enough(tiny_config: GenerationConfig, phantom: object) -> None:
    config = tiny_config.model_copy(
        update={"sam1_checkpoint": None, "sam2_checkpoint": BUNDLED, "max_track_growth": 2.0} | SETTINGS
    )
    alone = SupervoxelGenerator(config, "cpu")
    assert set(alone.provenance["checkpoints"]) == {"sam2"}
    assert alone.provenance["checkpoints"]["sam2"]["image_size"] == 192
    found = alone(phantom.image, (3.0, 1.0, 1.0), "phantom")
    again = SupervoxelGenerator(config.model_copy(update={"keep_slices": "never"}), "cpu")(
        phantom.image, name="phantom"
    )
    assert len(found) == len(again) > 0
    for one, other in zip(found.to_array(), again.to_array(), strict=True):
        assert np.mean(one != other) < 1e-3
