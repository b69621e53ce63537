import numpy as np

from nnunetv2_supervoxel.phantoms.contrast import any_levels, render, scan_levels, t1_levels


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


def test_what_can_be_told_from_a_scan_is_told_by_its_level() -> None:
    tissues = ["fat", "muscle", "bone", "marrow", "fluid", "organ", "organ"]
    parents = [0, 1, 2, 3, 2, 2, 6]
    for seed in range(30):
        levels = scan_levels(parents, tissues, np.random.default_rng(seed))
        assert len(levels) == 8
        assert min(abs(levels[i + 1] - levels[parent]) for i, parent in enumerate(parents)) >= 0.08


def test_scans_differ_in_what_is_bright() -> None:
    drawn = [scan_levels([0, 0, 0], ["fat", "bone", "fluid"], np.random.default_rng(seed))[1:] for seed in range(30)]
    assert {int(np.argmax(levels)) for levels in drawn} == {0, 1, 2}  # T1, CT, T2


def test_a_bias_field_darkens_one_side(rng: np.random.Generator) -> None:
    labels = np.ones((12, 40, 60), np.int16)
    spread = []
    for bias in (0.0, 0.5):
        images = [render(labels, [0, 0.5], np.random.default_rng(seed), bias=bias) for seed in range(8)]
        spread.append(np.mean([np.std([image[:, :, :20].mean(), image[:, :, 40:].mean()]) for image in images]))
    assert spread[1] > 5 * spread[0]
