"""The simulated user: which mistakes it sees, and what it does about them."""

from collections import Counter

import cc3d
import numpy as np

from nnunetv2_supervoxel.masks.boxes import bounding_box
from nnunetv2_supervoxel.prompts.regions import draw_error_region
from nnunetv2_supervoxel.prompts.user import SimulatedUser

EVERYTHING = {"point": 1.0, "box": 1.0, "scribble": 1.0, "lasso": 1.0}


def blocks(*corners, shape=(16, 24, 35)):
    """Boolean volume with boxes; each corner is ((z0, y0, x0), (z1, y1, x1))."""
    volume = np.zeros(shape, bool)
    for low, high in corners:
        volume[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return volume


TARGET = blocks(((3, 4, 5), (9, 14, 20)))
TOO_SMALL = blocks(((3, 4, 5), (9, 14, 12)))
TOO_LARGE = blocks(((3, 4, 5), (9, 14, 20)), ((3, 4, 20), (9, 14, 30)))


def test_error_regions_are_false_negatives_or_false_positives():
    rng = np.random.default_rng(0)
    missing = draw_error_region(TARGET, TOO_SMALL, rng)
    assert np.array_equal(missing, TARGET & ~TOO_SMALL)
    surplus = draw_error_region(TARGET, TOO_LARGE, rng)
    assert np.array_equal(surplus, TOO_LARGE & ~TARGET)


def test_a_miss_beside_a_surplus_are_two_regions():
    prediction = blocks(((3, 4, 5), (9, 14, 12)), ((3, 4, 20), (9, 14, 30)))
    for seed in range(10):
        region = draw_error_region(TARGET, prediction, np.random.default_rng(seed))
        assert not (region & TARGET).any() or not (region & ~TARGET).any()
        assert cc3d.connected_components(region, connectivity=26).max() == 1


def test_larger_mistakes_are_seen_more_often():
    target = blocks(((1, 1, 1), (9, 9, 9)), ((12, 16, 25), (14, 18, 29)))  # 512 and 16 voxels
    picked = Counter(
        int(draw_error_region(target, np.zeros_like(target), np.random.default_rng(s)).sum()) for s in range(60)
    )
    assert set(picked) <= {512, 16}
    assert picked[512] > 45


def test_nothing_to_correct():
    user = SimulatedUser(EVERYTHING)
    assert draw_error_region(TARGET, TARGET, np.random.default_rng(0)) is None
    assert user.correct(TARGET, TARGET, np.random.default_rng(0)) is None
    assert user.first(np.zeros_like(TARGET), np.random.default_rng(0)) is None


def test_what_is_missing_is_prompted_for_and_what_is_too_much_against():
    user = SimulatedUser({"point": 1.0})
    for seed in range(20):
        missing = user.correct(TARGET, TOO_SMALL, np.random.default_rng(seed))
        assert missing.positive
        assert (TARGET & ~TOO_SMALL)[missing.centre]
        surplus = user.correct(TARGET, TOO_LARGE, np.random.default_rng(seed))
        assert not surplus.positive
        assert (TOO_LARGE & ~TARGET)[surplus.centre]


def test_first_prompts_are_positive_and_of_all_types():
    user = SimulatedUser(EVERYTHING, point_radius=3)
    prompts = [user.first(TARGET, np.random.default_rng(seed)) for seed in range(60)]
    assert all(prompt.positive for prompt in prompts)
    assert Counter(prompt.kind for prompt in prompts).keys() == EVERYTHING.keys()
    assert {prompt.stamp.shape for prompt in prompts if prompt.kind == "point"} == {(7, 7, 7)}


def test_weights_decide_and_a_named_type_wins():
    user = SimulatedUser({"point": 3.0, "lasso": 1.0, "box": 0.0})
    assert user.kinds == ["point", "lasso"]
    drawn = Counter(user.first(TARGET, np.random.default_rng(seed)).kind for seed in range(200))
    assert drawn.keys() == {"point", "lasso"}
    assert 120 < drawn["point"] < 175
    assert user.first(TARGET, np.random.default_rng(0), "scribble").kind == "scribble"
    assert user.correct(TARGET, TOO_SMALL, np.random.default_rng(0), "box").kind == "box"


def test_bounding_box():
    assert bounding_box(TARGET) == (slice(3, 9), slice(4, 14), slice(5, 20))
    assert bounding_box(np.zeros((2, 3, 4), bool)) is None


def test_scribbles_are_as_thick_as_asked():
    """The same stroke, drawn with a thicker brush, covers more."""
    voxels = []
    for thickness in (1, 2, 4):
        user = SimulatedUser({"scribble": 1.0}, scribble_thickness=thickness)
        voxels.append(np.count_nonzero(user.first(TARGET, np.random.default_rng(3)).stamp))
    assert voxels[0] < voxels[1] < voxels[2]
