"""The method "slic": its segments are objects' parts, at their place, in mm."""

import numpy as np
import pytest

from nnunetv2_supervoxel import GenerationConfig, SupervoxelGenerator


@pytest.fixture(scope="module")
def blocks() -> np.ndarray:
    """(24, 40, 30): six blocks of different brightness, side by side, in an empty background."""
    labels = np.zeros((24, 40, 30), int)
    for number in range(6):
        y, x = divmod(number, 2)
        labels[4:20, 5 + 10 * y : 15 + 10 * y, 5 + 10 * x : 15 + 10 * x] = number + 1
    return labels


def test_segments_are_the_blocks(blocks: np.ndarray, rng: np.random.Generator) -> None:
    image = np.where(blocks > 0, 50 + 20 * blocks, 0) + rng.normal(0, 1, blocks.shape)
    found = SupervoxelGenerator(GenerationConfig(method="slic", masks_per_image=6), "cpu")(image, (0.8, 1.0, 1.2))
    assert len(found) == 6
    assert found.spacing == (0.8, 1.0, 1.2)
    masks = found.to_array() > 0
    assert not masks[:, blocks == 0].any()
    assert (masks.sum(0)[blocks > 0] == 1).mean() > 0.98
    for number in range(1, 7):
        block = blocks == number
        assert max((mask & block).sum() / (mask | block).sum() for mask in masks) > 0.9
    assert all(one.predicted_iou is None and one.consistency is None for one in found.supervoxels)


def test_distances_are_in_mm(rng: np.random.Generator) -> None:
    """In thick slices, segments span fewer of them: a segment is about as long in mm along every axis."""
    image = np.ones((24, 48, 30)) + rng.normal(0, 0.01, (24, 48, 30))
    image[:2] = image[-2:] = 0
    config = GenerationConfig(method="slic", masks_per_image=40, slic_compactness=10)
    thick = SupervoxelGenerator(config, "cpu")(image, (6.0, 1.0, 1.0))
    spans = np.median([one.shape for one in thick.supervoxels], axis=0)
    assert spans[0] < 0.6 * spans[1]
    cubes = SupervoxelGenerator(config, "cpu")(image, (1.0, 1.0, 1.0))
    spans = np.median([one.shape for one in cubes.supervoxels], axis=0)
    assert spans[0] > 0.6 * spans[1]


def test_compactness_and_limits_have_an_effect(blocks: np.ndarray, rng: np.random.Generator) -> None:
    image = np.where(blocks > 0, 50 + 20 * blocks, 0) + rng.normal(0, 1, blocks.shape)
    settings = {"method": "slic", "masks_per_image": 20}
    usual = SupervoxelGenerator(GenerationConfig(**settings), "cpu")(image)
    compact = SupervoxelGenerator(GenerationConfig(**settings, slic_compactness=100), "cpu")(image)
    within = [np.mean([image[mask > 0].std() for mask in found.to_array()]) for found in (usual, compact)]
    assert within[1] > 3 * within[0]
    small = [one.voxels for one in usual.supervoxels if one.voxels <= 500]
    limited = SupervoxelGenerator(GenerationConfig(**settings, max_volume_mm3=500), "cpu")(image)
    assert 0 < len(small) < 20
    assert [one.voxels for one in limited.supervoxels] == small


def test_provenance_names_no_model() -> None:
    """It used none, whatever the config says of SAM's."""
    provenance = SupervoxelGenerator(GenerationConfig(method="slic"), "cpu").provenance
    assert provenance["checkpoints"] == {}
    assert not [key for key in provenance["config"] if key.startswith("sam")]
    assert GenerationConfig(**provenance["config"]) == GenerationConfig(method="slic")
