import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator

from nnunetv2_supervoxel import GenerationConfig, SupervoxelGenerator
from nnunetv2_supervoxel.checkpoints.loading import load_sam
from nnunetv2_supervoxel.generation.intensity import to_uint8_rgb
from nnunetv2_supervoxel.generation.sam import proposals
from nnunetv2_supervoxel.generation.sam.proposals import Proposer, _Float32Coordinates


def test_proposals_are_the_official_generators(
    brain_generator: SupervoxelGenerator, brain_config: GenerationConfig, brain_slice: np.ndarray
) -> None:
    official = SamAutomaticMaskGenerator(
        load_sam("bundled").model,  # one whose attention isn't replaced
        points_per_side=brain_config.points_per_side,
        points_per_batch=brain_config.points_per_batch,
        pred_iou_thresh=brain_config.pred_iou_thresh,
        stability_score_thresh=brain_config.stability_score_thresh,
        stability_score_offset=brain_config.stability_score_offset,
        box_nms_thresh=brain_config.box_nms_thresh,
        crop_n_layers=brain_config.crop_n_layers,
        min_mask_region_area=brain_config.min_mask_region_area,
    ).generate(to_uint8_rgb(brain_slice))
    official = [record for record in official if record["segmentation"].sum() >= brain_config.min_proposal_area]
    ours = brain_generator.method._propose(brain_slice)
    assert len(ours) == len(official) > 0
    official.sort(key=lambda record: -record["predicted_iou"])
    for proposal, record in zip(ours, official, strict=True):
        assert proposal.predicted_iou == pytest.approx(record["predicted_iou"], abs=1e-5)
        assert np.mean(proposal.mask != record["segmentation"]) < 1e-4


def test_thresholds_and_areas_are_kept(
    brain_generator: SupervoxelGenerator, brain_config: GenerationConfig, brain_slice: np.ndarray
) -> None:
    config = brain_config.model_copy(
        update={"min_proposal_area": 200, "max_proposal_share": 0.5, "stability_score_thresh": 0.85}
    )
    found = Proposer(brain_generator.method._propose._generator.predictor.model, config)(brain_slice)
    assert found
    for proposal in found:
        assert proposal.mask.shape == brain_slice.shape[1:]
        assert 200 <= proposal.mask.sum() <= 0.5 * proposal.mask.size
        assert proposal.predicted_iou > config.pred_iou_thresh
        assert proposal.stability_score >= 0.85
    smaller = config.model_copy(update={"max_proposal_share": float(found[0].mask.mean()) / 2})
    assert len(Proposer(brain_generator.method._propose._generator.predictor.model, smaller)(brain_slice)) < len(found)


@pytest.mark.parametrize(
    "settings",
    [
        {"stability_score_thresh": 1.0, "stability_score_offset": 50.0},
        {"stability_score_thresh": 1.0, "stability_score_offset": 50.0, "crop_n_layers": 1},
        {"pred_iou_thresh": 1.0},
    ],
    ids=["unstable", "unstable in crops", "unsure"],
)
def test_nothing_above_the_thresholds_is_no_error(
    brain_generator: SupervoxelGenerator, brain_config: GenerationConfig, brain_slice: np.ndarray, settings: dict
) -> None:
    config = brain_config.model_copy(update=settings)
    assert Proposer(brain_generator.method._propose._generator.predictor.model, config)(brain_slice) == []


def test_many_boxes_are_suppressed_with_categories_on_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def nms(boxes: torch.Tensor, scores: torch.Tensor, categories: torch.Tensor, _: float) -> torch.Tensor:
        seen.append((boxes.device, scores.device, categories.device))
        return categories

    monkeypatch.setattr(proposals, "batched_nms", nms)
    boxes = torch.zeros(6, 4, device="meta")  # stands for a GPU: anything but the CPU
    with proposals._categories_on_the_boxes_device():
        proposals.official.batched_nms(boxes, torch.zeros(6), torch.zeros(6), iou_threshold=0.5)
    assert seen == [(boxes.device,) * 3]
    assert proposals.official.batched_nms is not nms


def test_coordinates_in_single_precision_are_the_same() -> None:
    points = np.random.default_rng(0).random((50, 2)) * (97, 61)
    ours = _Float32Coordinates(128).apply_coords(points, (61, 97))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, points * 128 / 97, rtol=1e-2)
