"""The generator on arrays: meaning, geometry, and everything odd that an image can be."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from nnunetv2_supervoxel import GenerationConfig, SupervoxelGenerator, UserError
from nnunetv2_supervoxel.generation.intensity import IntensityWindow, to_uint8_rgb
from nnunetv2_supervoxel.generation.sam.proposals import Proposal
from nnunetv2_supervoxel.phantoms import Phantom, make_phantom


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero(one & other) / max(1, np.count_nonzero(one | other))


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom((40, 88, 112), np.random.default_rng(1))


def with_config(generator: SupervoxelGenerator, **changes: object) -> SupervoxelGenerator:
    """The same loaded models under another config."""
    changed = SupervoxelGenerator.__new__(SupervoxelGenerator)
    changed.__dict__.update(generator.__dict__)
    changed.config = GenerationConfig(**(generator.config.model_dump() | changes))
    return changed


def test_supervoxels_are_the_objects(generator: SupervoxelGenerator, phantom: Phantom) -> None:
    found = generator(phantom.image, (3.0, 1.0, 1.0), "phantom")
    assert len(found) >= 1
    assert found.shape == phantom.image.shape
    assert found.spacing == (3.0, 1.0, 1.0)
    best = [max(iou(mask > 0, true) for true in phantom.objects) for mask in found.to_array()]
    assert np.median(best) > 0.6  # a flipped axis would leave next to nothing


def test_each_supervoxel_is_connected_and_holds_its_seed_slice(
    generator: SupervoxelGenerator, phantom: Phantom
) -> None:
    import cc3d

    for supervoxel in generator(phantom.image, name="phantom").supervoxels:
        assert cc3d.connected_components(supervoxel.mask, connectivity=26).max() == 1
        assert supervoxel.mask[supervoxel.keyframe - supervoxel.origin[0]].any()
        assert all(supervoxel.mask.any(axis=other).any() for other in range(3))
        for axis in range(3):
            assert np.take(supervoxel.mask, 0, axis).any(), "the box isn't tight"
            assert np.take(supervoxel.mask, -1, axis).any(), "the box isn't tight"


@pytest.mark.parametrize("axis", [1, 2])
def test_slicing_along_another_axis_turns_the_result(
    generator: SupervoxelGenerator, phantom: Phantom, axis: int
) -> None:
    straight = generator(phantom.image, name="phantom")
    turned = with_config(generator, axis=axis)(np.moveaxis(phantom.image, 0, axis), name="phantom")
    np.testing.assert_array_equal(np.moveaxis(turned.to_array(), 1 + axis, 1), straight.to_array())
    assert all(supervoxel.axis == axis for supervoxel in turned.supervoxels)


def test_seed_and_name_decide_everything(generator: SupervoxelGenerator, phantom: Phantom) -> None:
    first = generator(phantom.image, name="a")
    generator(phantom.image[:, ::-1], name="something else in between")
    again = generator(phantom.image, name="a")
    assert first.to_array().tobytes() == again.to_array().tobytes()
    keyframes = {
        with_config(generator, seed=seed)(phantom.image, name=name).supervoxels[0].keyframe
        for seed, name in ((0, "a"), (1, "a"), (0, "b"), (2, "a"))
    }
    assert len(keyframes) > 1


def test_no_more_supervoxels_than_asked(generator: SupervoxelGenerator, phantom: Phantom) -> None:
    assert len(with_config(generator, masks_per_image=2)(phantom.image, name="phantom")) <= 2


@pytest.mark.parametrize(("enough", "asked", "taken"), [(1, 1, 0), (4, 2, 1), (9, 3, 1)])
def test_a_slice_with_few_proposals_is_passed_over(
    generator: SupervoxelGenerator, phantom: Phantom, enough: int, asked: int, taken: int
) -> None:
    picky = with_config(generator, min_proposals=enough, max_keyframes=3)
    slices, seed = [], np.zeros(phantom.image.shape[1:], bool)
    seed[30:50, 40:70] = True

    def propose(image: np.ndarray) -> list[Proposal]:
        slices.append(image)
        return [Proposal(seed, 0.9, 0.9)] * (2, 5, 5)[len(slices) - 1]

    picky._propose = propose
    found = picky(phantom.image, name="phantom")
    assert len(slices) == asked
    window = IntensityWindow.of(phantom.image[None], picky.config.intensity_percentiles)
    of_keyframe = to_uint8_rgb(window(phantom.image[None, found.supervoxels[0].keyframe]))
    assert [np.array_equal(image, of_keyframe) for image in slices] == [i == taken for i in range(asked)]


def test_several_keyframes_share_the_supervoxels(generator: SupervoxelGenerator, phantom: Phantom) -> None:
    alone = generator(phantom.image, name="phantom")
    several = with_config(generator, keyframes=3, masks_per_image=7)(phantom.image, name="phantom")
    keyframes = [supervoxel.keyframe for supervoxel in several.supervoxels]
    assert len(set(keyframes)) == 3
    assert len(several) <= 7
    assert all(keyframes.count(keyframe) <= 3 for keyframe in keyframes)
    best = [max(iou(mask > 0, true) for true in phantom.objects) for mask in several.to_array()]
    assert np.median(best) > 0.6
    again = with_config(generator, keyframes=1)(phantom.image, name="phantom")
    np.testing.assert_array_equal(again.to_array(), alone.to_array())


def test_what_covers_too_much_of_the_volume_is_dropped(generator: SupervoxelGenerator, phantom: Phantom) -> None:
    large, small = np.zeros((2, *phantom.image.shape[1:]), bool)
    large[20:60, 30:90] = small[64:74, 10:22] = True
    generator = with_config(generator)
    generator._propose = lambda _: [Proposal(large, 0.9, 0.9), Proposal(small, 0.8, 0.9)]
    everything = generator(phantom.image, name="phantom")
    shares = [float(mask.mean()) for mask in everything.to_array()]
    limit = min(shares)
    limited = with_config(generator, max_supervoxel_share=limit)(phantom.image, name="phantom")
    kept = everything.to_array()[[share <= limit for share in shares]]
    assert len(kept) == 1
    np.testing.assert_array_equal(limited.to_array(), kept)
    nothing = with_config(generator, max_supervoxel_share=min(shares) / 2)(phantom.image, name="phantom")
    assert len(nothing) == 0
    assert nothing.notes == ("no proposal became a supervoxel",)


def test_keyframes_take_turns_along_several_axes(generator: SupervoxelGenerator, phantom: Phantom) -> None:
    found = with_config(generator, axis=(2, 0, 1), keyframes=4)(phantom.image, name="phantom")
    keyframes = {axis: {s.keyframe for s in found.supervoxels if s.axis == axis} for axis in range(3)}
    assert {axis: len(slices) for axis, slices in keyframes.items()} == {0: 1, 1: 1, 2: 2}
    best: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for supervoxel, mask in zip(found.supervoxels, found.to_array() > 0, strict=True):
        assert mask.take(supervoxel.keyframe, supervoxel.axis).any()
        best[supervoxel.axis].append(max(iou(mask, true) for true in phantom.objects))
    assert all(np.median(overlaps) > 0.5 for overlaps in best.values()), best


def test_a_keyframe_without_proposals_leaves_its_share_to_the_others(
    generator: SupervoxelGenerator, phantom: Phantom
) -> None:
    seed = np.zeros(phantom.image.shape[1:], bool)
    seed[30:50, 40:70] = True
    lean, calls = with_config(generator, keyframes=2, max_keyframes=1, masks_per_image=6), []

    def propose(image: np.ndarray) -> list[Proposal]:
        calls.append(image)
        return [Proposal(seed, 0.9, 0.9)] * (0, 9)[len(calls) - 1]

    lean._propose = propose
    assert len(lean(phantom.image, name="phantom")) == 6
    assert len(calls) == 2
    calls.clear()
    one = with_config(lean, masks_per_image=1, keyframes=4)
    one._propose = lambda image: calls.append(image) or [Proposal(seed, 0.9, 0.9)]
    assert len(one(phantom.image, name="phantom")) == 1
    assert len(calls) == 1  # nothing is left for further slices


def test_more_keyframes_than_slices(generator: SupervoxelGenerator, phantom: Phantom) -> None:
    few = with_config(generator, keyframes=5)(phantom.image[18:21], name="thin")
    keyframes = {supervoxel.keyframe for supervoxel in few.supervoxels}
    assert keyframes
    assert keyframes <= {0, 1, 2}


def test_a_channel_of_several(generator: SupervoxelGenerator, phantom: Phantom) -> None:
    alone = generator(phantom.image, name="phantom").to_array()
    as_rgb = generator(np.stack([phantom.image] * 3), name="phantom").to_array()
    np.testing.assert_array_equal(alone, as_rgb)
    two = generator(np.stack([phantom.image, -phantom.image]), name="phantom")
    assert two.shape == phantom.image.shape


def test_one_slice_gives_proposals_without_propagation(generator: SupervoxelGenerator, phantom: Phantom) -> None:
    z = int(np.argmax((phantom.labels > 0).sum((1, 2))))
    found = generator(phantom.image[z][None], name="flat")
    assert len(found) >= 1
    assert found.to_array().shape == (len(found), 1, *phantom.image.shape[1:])
    best = [max(iou(mask[0] > 0, true[z]) for true in phantom.objects) for mask in found.to_array()]
    assert np.median(best) > 0.6


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 300), (7, 5, 9), (300, 4, 6), (3, 1, 17), (1, 40, 2)])
def test_volumes_of_any_shape_work(generator: SupervoxelGenerator, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).normal(size=shape)
    found = with_config(generator, pred_iou_thresh=0.0, stability_score_thresh=0.0)(image, name="odd")
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
