import numpy as np
import pytest

from nnunetv2_supervoxel.generation.sam.keyframes import draw_keyframes, keyframe_probabilities
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
