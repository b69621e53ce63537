import numpy as np

from nnunetv2_supervoxel.phantoms.contrast import any_levels, render, t1_levels


def test_a_nested_region_differs_from_its_parent() -> None:
    for seed in range(20):
        levels = any_levels([0, 1, 2], np.random.default_rng(seed))
        assert len(levels) == 4
        assert min(abs(levels[label] - levels[parent]) for label, parent in ((1, 0), (2, 1), (3, 2))) > 0.1


def test_white_matter_is_brighter_than_grey_and_grey_than_fluid() -> None:
    for seed in range(20):
        _, white, grey, fluid = t1_levels(["white", "grey", "fluid"], np.random.default_rng(seed))
        assert white > grey > fluid


def test_a_rendered_region_is_about_as_bright_as_its_level(rng: np.random.Generator) -> None:
    labels = np.zeros((12, 30, 40), np.int16)
    labels[:, :, 20:] = 1
    image = render(labels, [0.2, 0.8], rng)
    assert image.dtype == np.float32
    assert abs(np.median(image[:, :, :15]) - 0.2) < 0.1
    assert abs(np.median(image[:, :, 25:]) - 0.8) < 0.2
