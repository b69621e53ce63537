"""The generator on arrays: geometry, provenance, and everything odd that an image can be."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch

from nnunetv2_supervoxel import GenerationConfig, SupervoxelGenerator, SupervoxelSet, UserError
from nnunetv2_supervoxel.phantoms import Phantom

WithConfig = Callable[..., SupervoxelGenerator]


def test_seed_and_name_decide_everything(
    generator: SupervoxelGenerator, with_config: WithConfig, phantom: Phantom
) -> None:
    generator = with_config(generator, points_per_side=12)
    first = generator(phantom.image, name="a")
    assert len(first) > 1
    generator(phantom.image[:, ::-1], name="something else in between")
    again = generator(phantom.image, name="a")
    assert first.to_array().tobytes() == again.to_array().tobytes()
    keyframes = {
        with_config(generator, seed=seed)(phantom.image, name=name).supervoxels[0].keyframe
        for seed, name in ((0, "a"), (1, "a"), (0, "b"), (2, "a"))
    }
    assert len(keyframes) > 1


def test_a_channel_of_several(found: SupervoxelSet, generator: SupervoxelGenerator, phantom: Phantom) -> None:
    as_rgb = generator(np.stack([phantom.image] * 3), name="phantom").to_array()
    np.testing.assert_array_equal(found.to_array(), as_rgb)
    two = generator(np.stack([phantom.image, -phantom.image]), name="phantom")
    assert two.shape == phantom.image.shape


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 300), (7, 5, 9), (300, 4, 6), (3, 1, 17), (1, 40, 2)])
def test_volumes_of_any_shape_work(
    generator: SupervoxelGenerator, with_config: WithConfig, shape: tuple[int, ...]
) -> None:
    image = np.random.default_rng(0).normal(size=shape)
    eager = with_config(generator, pred_iou_thresh=0.0, stability_score_thresh=0.0, points_per_side=8)
    found = eager(image, name="odd")
    assert found.shape == shape
    assert found.to_array().shape == (len(found), *shape)


@pytest.mark.parametrize("value", [0, 7.5, np.nan])
def test_a_constant_image_has_no_supervoxels(generator: SupervoxelGenerator, value: float) -> None:
    found = generator(np.full((6, 20, 30), value))
    assert len(found) == 0
    assert "the image is constant" in found.notes


def test_nan_and_infinity_are_noted_and_harmless(generator: SupervoxelGenerator, phantom: Phantom) -> None:
    image = phantom.image.copy()
    image[0, 0, :5] = np.nan
    image[1, 0, :2] = np.inf
    found = generator(image, name="phantom")
    assert found.notes == ("7 voxels are NaN or infinite",)
    assert len(found) >= 1


def test_integers_work_like_floats(generator: SupervoxelGenerator, phantom: Phantom) -> None:
    found = generator((phantom.image * 1000).astype(np.int16), name="phantom")
    assert len(found) >= 1


@pytest.mark.parametrize("shape", [(10, 10), (4, 6, 7, 8), (0, 5, 5), (1, 2, 3, 4, 5)])
def test_arrays_that_are_no_images_are_told(generator: SupervoxelGenerator, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="was expected, not one of shape"):
        generator(np.zeros(shape))
    with pytest.raises(UserError, match="real numbers"):
        generator(np.zeros((3, 4, 5), complex))


def test_provenance_is_enough_to_make_it_again(generator: SupervoxelGenerator) -> None:
    provenance = json.loads(json.dumps(generator.provenance))
    assert GenerationConfig(**provenance["config"]) == generator.config
    assert set(provenance["packages"]) >= {"torch", "sam2", "segment-anything", "nnunetv2", "nnunetv2-supervoxel"}
    assert len(provenance["checkpoints"]["sam1"]["sha256"]) == 64
    assert provenance["threads"] == torch.get_num_threads()


def test_an_absent_device_is_told(tiny_config: GenerationConfig) -> None:
    with pytest.raises(UserError, match=r"device 'cuda:99' can't be used"):
        SupervoxelGenerator(tiny_config, "cuda:99")
    with pytest.raises(UserError, match=r"device 'gpu' can't be used"):
        SupervoxelGenerator(tiny_config, "gpu")
