"""The method "sam" on arrays: what its supervoxels are, and which slices and proposals it takes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from nnunetv2_supervoxel import SupervoxelGenerator, SupervoxelSet
from nnunetv2_supervoxel.generation.intensity import IntensityWindow
from nnunetv2_supervoxel.generation.sam.proposals import Proposal
from nnunetv2_supervoxel.generation.sam.tracks import Track
from nnunetv2_supervoxel.phantoms import Phantom

WithConfig = Callable[..., SupervoxelGenerator]


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero(one & other) / max(1, np.count_nonzero(one | other))


def test_supervoxels_are_the_objects(found: SupervoxelSet, phantom: Phantom) -> None:
    assert len(found) >= 1
    assert found.shape == phantom.image.shape
    assert found.spacing == (3.0, 1.0, 1.0)
    best = [max(iou(mask > 0, true) for true in phantom.objects) for mask in found.to_array()]
    assert np.median(best) > 0.6  # a flipped axis would leave next to nothing


def test_each_supervoxel_is_connected_and_holds_its_seed_slice(found: SupervoxelSet) -> None:
    import cc3d

    for supervoxel in found.supervoxels:
        assert cc3d.connected_components(supervoxel.mask, connectivity=26).max() == 1
        assert supervoxel.mask[supervoxel.keyframe - supervoxel.origin[0]].any()
        assert all(supervoxel.mask.any(axis=other).any() for other in range(3))
        for axis in range(3):
            assert np.take(supervoxel.mask, 0, axis).any(), "the box isn't tight"
            assert np.take(supervoxel.mask, -1, axis).any(), "the box isn't tight"


@pytest.mark.parametrize("axis", [1, 2])
def test_slicing_along_another_axis_turns_the_result(
    found: SupervoxelSet, generator: SupervoxelGenerator, with_config: WithConfig, phantom: Phantom, axis: int
) -> None:
    turned = with_config(generator, axis=axis)(np.moveaxis(phantom.image, 0, axis), name="phantom")
    np.testing.assert_array_equal(np.moveaxis(turned.to_array(), 1 + axis, 1), found.to_array())
    assert all(supervoxel.axis == axis for supervoxel in turned.supervoxels)


def test_no_more_supervoxels_than_asked(
    generator: SupervoxelGenerator, with_config: WithConfig, phantom: Phantom
) -> None:
    assert len(with_config(generator, masks_per_image=2)(phantom.image, name="phantom")) <= 2


@pytest.mark.parametrize(("enough", "asked", "taken"), [(1, 1, 0), (4, 2, 1), (9, 3, 1)])
def test_a_slice_with_few_proposals_is_passed_over(
    generator: SupervoxelGenerator, with_config: WithConfig, phantom: Phantom, enough: int, asked: int, taken: int
) -> None:
    picky = with_config(generator, min_proposals=enough, max_keyframes=3)
    slices, seed = [], np.zeros(phantom.image.shape[1:], bool)
    seed[30:50, 40:70] = True

    def propose(image: np.ndarray) -> list[Proposal]:
        slices.append(image)
        return [Proposal(seed, 0.9, 0.9)] * (2, 5, 5)[len(slices) - 1]

    picky.method._propose = propose
    found = picky(phantom.image, name="phantom")
    assert len(slices) == asked
    window = IntensityWindow.of_percentiles(phantom.image[None], picky.config.intensity_percentiles)
    of_keyframe = window(phantom.image[None, found.supervoxels[0].keyframe])
    assert [np.array_equal(image, of_keyframe) for image in slices] == [i == taken for i in range(asked)]


def test_several_keyframes_share_the_supervoxels(
    found: SupervoxelSet, generator: SupervoxelGenerator, with_config: WithConfig, phantom: Phantom
) -> None:
    several = with_config(generator, keyframes=3, masks_per_image=7)(phantom.image, name="phantom")
    keyframes = [supervoxel.keyframe for supervoxel in several.supervoxels]
    assert len(set(keyframes)) == 3
    assert len(several) <= 7
    assert all(keyframes.count(keyframe) <= 3 for keyframe in keyframes)
    best = [max(iou(mask > 0, true) for true in phantom.objects) for mask in several.to_array()]
    assert np.median(best) > 0.6
    again = with_config(generator, keyframes=1)(phantom.image, name="phantom")
    np.testing.assert_array_equal(again.to_array(), found.to_array())


def test_what_covers_too_much_of_the_volume_is_dropped(
    generator: SupervoxelGenerator, with_config: WithConfig, phantom: Phantom
) -> None:
    large, small = np.zeros((2, *phantom.image.shape[1:]), bool)
    large[20:60, 30:90] = small[64:74, 10:22] = True
    generator = with_config(generator)
    generator.method._propose = lambda _: [Proposal(large, 0.9, 0.9), Proposal(small, 0.8, 0.9)]
    everything = generator(phantom.image, name="phantom")
    shares = [float(mask.mean()) for mask in everything.to_array()]
    limit = min(shares)
    limited = with_config(generator, max_supervoxel_share=limit)(phantom.image, name="phantom")
    kept = everything.to_array()[[share <= limit for share in shares]]
    assert len(kept) == 1
    np.testing.assert_array_equal(limited.to_array(), kept)
    nothing = with_config(generator, max_supervoxel_share=min(shares) / 2)(phantom.image, name="phantom")
    assert len(nothing) == 0
    assert nothing.notes == ("none of 2 supervoxels has the size, place and consistency that the config asks for",)


def test_keyframes_take_turns_along_several_axes(
    generator: SupervoxelGenerator, with_config: WithConfig, phantom: Phantom
) -> None:
    found = with_config(generator, axis=(2, 0, 1), keyframes=4)(phantom.image, name="phantom")
    keyframes = {axis: {s.keyframe for s in found.supervoxels if s.axis == axis} for axis in range(3)}
    assert {axis: len(slices) for axis, slices in keyframes.items()} == {0: 1, 1: 1, 2: 2}
    best: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for supervoxel, mask in zip(found.supervoxels, found.to_array() > 0, strict=True):
        assert mask.take(supervoxel.keyframe, supervoxel.axis).any()
        best[supervoxel.axis].append(max(iou(mask, true) for true in phantom.objects))
    assert all(np.median(overlaps) > 0.5 for overlaps in best.values()), best


def test_a_keyframe_without_proposals_leaves_its_share_to_the_others(
    generator: SupervoxelGenerator, with_config: WithConfig, phantom: Phantom
) -> None:
    seed = np.zeros(phantom.image.shape[1:], bool)
    seed[30:50, 40:70] = True
    two, calls = with_config(generator, keyframes=2, max_keyframes=1, masks_per_image=6), []

    def propose(image: np.ndarray) -> list[Proposal]:
        calls.append(image)
        return [Proposal(seed, 0.9, 0.9)] * (0, 9)[len(calls) - 1]

    two.method._propose = propose
    assert len(two(phantom.image, name="phantom")) == 6
    assert len(calls) == 2
    calls.clear()
    one = with_config(two, masks_per_image=1, keyframes=4)
    one.method._propose = lambda image: calls.append(image) or [Proposal(seed, 0.9, 0.9)]
    assert len(one(phantom.image, name="phantom")) == 1
    assert len(calls) == 1  # nothing is left for further slices


def test_a_keyframe_gives_no_more_than_its_most(
    generator: SupervoxelGenerator, with_config: WithConfig, phantom: Phantom
) -> None:
    seed = np.zeros(phantom.image.shape[1:], bool)
    seed[30:50, 40:70] = True
    several = with_config(generator, keyframes=3, masks_per_image=300, masks_per_keyframe=2)
    several.method._propose = lambda _: [Proposal(seed, 0.9 - i / 100, 0.9) for i in range(9)]
    several.method._propagate = lambda read, frames, seeds, known: [
        [track_of({of.keyframe: mask}) for mask in of.masks] for of in seeds
    ]
    found = several(phantom.image, name="phantom")
    keyframes = [supervoxel.keyframe for supervoxel in found.supervoxels]
    assert [keyframes.count(keyframe) for keyframe in set(keyframes)] == [2, 2, 2]
    best = with_config(several, proposal_choice="score", masks_per_keyframe=3)(phantom.image, name="phantom")
    assert [one.predicted_iou for one in best.supervoxels] == [0.9, 0.89, 0.88] * 3


def track_of(masks: dict[int, np.ndarray]) -> Track:
    track = Track()
    for frame, mask in masks.items():
        track[frame] = mask
    return track


def test_more_keyframes_than_slices(generator: SupervoxelGenerator, with_config: WithConfig, phantom: Phantom) -> None:
    few = with_config(generator, keyframes=5)(phantom.image[18:21], name="thin")
    keyframes = {supervoxel.keyframe for supervoxel in few.supervoxels}
    assert keyframes
    assert keyframes <= {0, 1, 2}


def test_one_slice_gives_proposals_without_propagation(generator: SupervoxelGenerator, phantom: Phantom) -> None:
    z = int(np.argmax((phantom.labels > 0).sum((1, 2))))
    found = generator(phantom.image[z][None], name="flat")
    assert len(found) >= 1
    assert found.to_array().shape == (len(found), 1, *phantom.image.shape[1:])
    best = [max(iou(mask[0] > 0, true[z]) for true in phantom.objects) for mask in found.to_array()]
    assert np.median(best) > 0.6
