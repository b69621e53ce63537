"""Drawing."""

import numpy as np

from nnunetv2_supervoxel.randomness import weighted_choice


def test_weighted_choice_draws_what_numpy_draws():
    weights = np.random.default_rng(0).integers(0, 9, size=(500, 7))
    weights[:, 2] += 1
    ours, numpys = np.random.default_rng(1), np.random.default_rng(1)
    drawn = [weighted_choice(some, ours) for some in weights]
    assert drawn == [numpys.choice(7, p=some / some.sum()) for some in weights]
    assert len(set(drawn)) == 7


def test_weighted_choice_never_draws_a_weight_of_0():
    rng = np.random.default_rng(2)
    assert {weighted_choice([0, 3, 0, 1, 0], rng) for _ in range(200)} == {1, 3}
