import numpy as np
import pytest

from nnunetv2_supervoxel import GenerationConfig
from nnunetv2_supervoxel.generation.intensity import IntensityWindow
from nnunetv2_supervoxel.generation.methods import Image
from nnunetv2_supervoxel.generation.sam.keyframes import (
    draw_keyframes,
    foreground_range,
    keyframe_candidates,
    keyframe_probabilities,
    slicing_axes,
)
from nnunetv2_supervoxel.randomness import case_generator


def test_weights_follow_the_formula() -> None:
    probabilities = keyframe_probabilities(5)
    weights = np.exp(-2 * np.array([-1, -0.5, 0, 0.5, 1]) ** 2)
    np.testing.assert_allclose(probabilities, weights / weights.sum())


def test_slices_in_the_middle_are_drawn_more_often() -> None:
    draws = [draw_keyframes(41, 1, case_generator(0, f"case{i}", "keyframe"))[0] for i in range(4000)]
    counts = np.bincount(draws, minlength=41) / 4000
    np.testing.assert_allclose(counts, keyframe_probabilities(41), atol=0.012)


@pytest.mark.parametrize(("slices", "count", "drawn"), [(1, 3, 1), (2, 3, 2), (50, 3, 3)])
def test_no_slice_is_drawn_twice(slices: int, count: int, drawn: int, rng: np.random.Generator) -> None:
    keyframes = draw_keyframes(slices, count, rng)
    assert len(keyframes) == len(set(keyframes)) == drawn
    assert all(0 <= keyframe < slices for keyframe in keyframes)


def test_the_stream_depends_on_seed_name_and_purpose_alone() -> None:
    def first(*key: object) -> float:
        return case_generator(*key).random()

    assert first(0, "a", "x") == first(0, "a", "x")
    assert len({first(0, "a", "x"), first(1, "a", "x"), first(0, "b", "x"), first(0, "a", "y")}) == 4


def image_of(array: np.ndarray, spacing: tuple[float, float, float]) -> Image:
    volume = array[None].astype(np.float32)
    return Image(volume, IntensityWindow.of_percentiles(volume, [(0.5, 99.5)]), spacing, "case")


@pytest.fixture
def body() -> np.ndarray:
    """(40, 90, 70) with an object in slices 6 to 35, rows 10 to 81, columns 20 to 59."""
    array = np.random.default_rng(0).normal(0, 1, (40, 90, 70))
    array[6:36, 10:82, 20:60] += 100
    return array


@pytest.mark.parametrize(
    ("shape", "spacing", "axes"),
    [
        ((40, 50, 60), (1.0, 1.0, 1.2), (0, 1, 2)),
        ((40, 50, 60), (1.0, 1.0, 1.3), (2,)),
        ((40, 50, 60), (5.0, 0.8, 0.8), (0,)),
        ((40, 50, 60), (0.8, 3.0, 0.8), (1,)),
        ((40, 1, 60), (1.0, 1.0, 1.0), (1,)),
    ],
)
def test_axes_follow_the_voxels(shape: tuple[int, ...], spacing: tuple[float, ...], axes: tuple[int, ...]) -> None:
    assert slicing_axes("auto", shape, spacing) == axes
    if min(shape) > 1:
        assert slicing_axes((2, 0), shape, spacing) == (2, 0)


@pytest.mark.parametrize("axis", ["auto", (0,), (0, 1, 2)])
def test_of_one_slice_nothing_is_cut_into_lines(axis: str | tuple[int, ...]) -> None:
    assert slicing_axes(axis, (40, 1, 60), (1.0, 5.0, 1.0)) == (1,)


@pytest.mark.parametrize(("axis", "ends"), [(0, (6, 36)), (1, (10, 82)), (2, (20, 60))])
def test_the_foreground_is_found_along_every_axis(body: np.ndarray, axis: int, ends: tuple[int, int]) -> None:
    assert foreground_range(image_of(body, (1.0, 1.0, 1.0)), axis) == ends
    empty = np.zeros((4, 5, 6))
    assert foreground_range(image_of(empty, (1.0, 1.0, 1.0)), axis) == (0, (4, 5, 6)[axis])


def test_keyframes_are_so_many_mm_apart(body: np.ndarray, rng: np.random.Generator) -> None:
    image = image_of(body, (3.0, 1.0, 1.0))
    config = GenerationConfig(axis="auto", keyframe_spacing_mm=18, max_keyframes=1)
    assert keyframe_candidates(image, config, rng) == [(0, [9]), (0, [15]), (0, [21]), (0, [27]), (0, [33])]
    every_slice = config.model_copy(update={"keyframe_spacing_mm": 0.5})
    assert keyframe_candidates(image, every_slice, rng) == [(0, [z]) for z in range(6, 36)]
    at_least = config.model_copy(update={"keyframes": 6})
    assert len(keyframe_candidates(image, at_least, rng)) == 6
    cubes = image_of(body, (1.0, 1.0, 1.0))
    axes = [axis for axis, _ in keyframe_candidates(cubes, config, rng)]
    assert [axes.count(axis) for axis in range(3)] == [2, 4, 3]  # 30, 72 and 40 mm


def test_other_slices_of_the_same_piece_are_tried(body: np.ndarray, rng: np.random.Generator) -> None:
    config = GenerationConfig(axis="auto", keyframe_spacing_mm=18, max_keyframes=4)
    candidates = keyframe_candidates(image_of(body, (3.0, 1.0, 1.0)), config, rng)
    for (axis, slices), first in zip(candidates, (6, 12, 18, 24, 30), strict=True):
        assert axis == 0
        assert slices[0] == first + 3
        assert len(slices) == len(set(slices)) == 4
        assert set(slices) <= set(range(first, first + 6))


def test_auto_gives_every_axis_a_keyframe(body: np.ndarray, rng: np.random.Generator) -> None:
    candidates = keyframe_candidates(image_of(body, (1.0, 1.0, 1.0)), GenerationConfig(axis="auto"), rng)
    assert [axis for axis, _ in candidates] == [0, 1, 2]
    assert all(len(slices) == 3 for _, slices in candidates)
