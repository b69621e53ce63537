"""What the four interaction types look like, and where they lie."""

import cc3d
import numpy as np
import pytest
from scipy import ndimage

from nnunetv2_supervoxel.prompts.box import draw_box
from nnunetv2_supervoxel.prompts.lasso import draw_lasso
from nnunetv2_supervoxel.prompts.point import draw_point
from nnunetv2_supervoxel.prompts.scribble import centre_line, contour_arc, draw_scribble, random_curve

SHAPE = (20, 33, 46)
DRAW = {"point": draw_point, "box": draw_box, "scribble": draw_scribble, "lasso": draw_lasso}
FLAT = ("box", "scribble", "lasso")


def ellipsoid(centre, radii, shape=SHAPE):
    grid = np.ogrid[tuple(slice(size) for size in shape)]
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) < 1


OBJECT = ellipsoid((9, 14, 18), (6, 10, 14))
MISTAKE = ellipsoid((12, 20, 38), (5, 8, 6)) & ~OBJECT


def placed(interaction, shape=SHAPE):
    """The stamp in the volume, boolean."""
    volume = np.zeros(shape, bool)
    low = np.array(interaction.origin)
    high = low + interaction.stamp.shape
    into = tuple(slice(max(0, a), min(b, s)) for a, b, s in zip(low, high, shape, strict=True))
    part = tuple(slice(i.start - a, i.stop - a) for i, a in zip(into, low, strict=True))
    volume[into] = interaction.stamp[part] > 0
    return volume


@pytest.mark.parametrize("kind", DRAW)
def test_positive_in_the_object_negative_outside(kind):
    for seed in range(20):
        assert DRAW[kind](OBJECT, OBJECT, np.random.default_rng(seed)).positive
        wrong = DRAW[kind](OBJECT, MISTAKE, np.random.default_rng(seed))
        assert not wrong.positive
        assert (placed(wrong) & MISTAKE).any()


@pytest.mark.parametrize("kind", FLAT)
def test_flat_prompts_lie_on_one_slice_of_any_orientation(kind):
    axes = set()
    for seed in range(40):
        stamp = DRAW[kind](OBJECT, OBJECT, np.random.default_rng(seed)).stamp
        assert stamp.shape.count(1) == 1
        axes.add(stamp.shape.index(1))
    assert axes == {0, 1, 2}


@pytest.mark.parametrize("kind", DRAW)
def test_the_same_generator_draws_the_same(kind):
    one, two = (DRAW[kind](OBJECT, OBJECT, np.random.default_rng(7)) for _ in range(2))
    assert one.origin == two.origin
    assert np.array_equal(one.stamp, two.stamp)
    assert any(DRAW[kind](OBJECT, OBJECT, np.random.default_rng(s)).origin != one.origin for s in range(8, 12))


@pytest.mark.parametrize("kind", DRAW)
@pytest.mark.parametrize("corner", [(0, 0, 0), (19, 32, 45), (10, 0, 45)])
def test_a_single_voxel_can_be_marked_even_in_a_corner(kind, corner):
    region = np.zeros(SHAPE, bool)
    region[corner] = True
    for seed in range(10):
        interaction = DRAW[kind](region, region, np.random.default_rng(seed))
        assert interaction.positive
        assert placed(interaction)[corner]


@pytest.mark.parametrize("kind", DRAW)
def test_an_object_that_fills_the_volume(kind):
    full = np.ones((5, 7, 9), bool)
    for seed in range(6):
        assert placed(DRAW[kind](full, full, np.random.default_rng(seed)), full.shape).any()


def test_points_lie_inside_and_rather_deep():
    depth = ndimage.distance_transform_edt(OBJECT)
    clicks = [draw_point(OBJECT, OBJECT, np.random.default_rng(seed)).centre for seed in range(60)]
    assert all(OBJECT[click] for click in clicks)
    assert len(set(clicks)) > 30  # jitter
    assert np.mean([depth[click] for click in clicks]) > 1.3 * depth[OBJECT].mean()


def test_a_points_radius():
    assert draw_point(OBJECT, OBJECT, np.random.default_rng(0), radius=2).stamp.shape == (5, 5, 5)


def test_boxes_frame_the_slice_with_some_air():
    off = []
    for seed in range(40):
        interaction = draw_box(OBJECT, OBJECT, np.random.default_rng(seed))
        axis = interaction.stamp.shape.index(1)
        plane = OBJECT.take(interaction.origin[axis], axis=axis)
        rows, columns = np.nonzero(plane)
        low, size = np.delete(interaction.origin, axis), np.delete(interaction.stamp.shape, axis)
        for first, length, hits in zip(low, size, (rows, columns), strict=True):
            extent = hits.max() + 1 - hits.min()
            assert -0.16 * extent - 1 <= first - hits.min() <= 0.06 * extent + 1
            assert -0.06 * extent - 1 <= first + length - hits.max() - 1 <= 0.16 * extent + 1
            off.append(length - extent)
        assert (interaction.stamp == 1).all()
    assert np.mean(off) > 0.5
    assert np.std(off) > 0.3


def test_scribbles_stay_inside_and_are_thin():
    for seed in range(40):
        interaction = draw_scribble(OBJECT, OBJECT, np.random.default_rng(seed))
        drawn = placed(interaction)
        assert drawn.any()
        assert not (drawn & ~OBJECT).any()
        assert cc3d.connected_components(drawn, connectivity=26).max() == 1
        plane = interaction.stamp.squeeze() > 0
        assert ndimage.distance_transform_edt(np.pad(plane, 1)).max() <= 2.3  # two voxels wide, more where it bends


def test_scribbles_know_three_manners():
    disk = ellipsoid((0, 16, 23), (1, 14, 20))[0]
    depth = ndimage.distance_transform_edt(np.pad(disk, 1))[1:-1, 1:-1]
    mean = {}
    for stroke in (centre_line, random_curve, contour_arc):
        paths = [stroke(disk, np.random.default_rng(seed)) for seed in range(12)]
        assert all(disk[tuple(path.T)].all() for path in paths)
        steps = np.concatenate([np.abs(np.diff(path, axis=0)).max(axis=1) for path in paths])
        assert steps.max() <= 1 if stroke is not contour_arc else np.mean(steps <= 1) > 0.95
        mean[stroke] = np.mean([depth[tuple(path.T)].mean() for path in paths])
    assert mean[centre_line] > mean[contour_arc]
    assert mean[random_curve] > mean[contour_arc]


def test_lassos_are_loose_whole_and_unsteady():
    covered, excess = [], []
    for seed in range(40):
        interaction = draw_lasso(OBJECT, OBJECT, np.random.default_rng(seed))
        axis = interaction.stamp.shape.index(1)
        plane = placed(interaction).take(interaction.origin[axis], axis=axis)
        truth = OBJECT.take(interaction.origin[axis], axis=axis)
        assert ndimage.label(plane)[1] == 1
        assert np.array_equal(ndimage.binary_fill_holes(plane), plane)
        covered.append((plane & truth).sum() / truth.sum())
        excess.append((plane & ~truth).sum() / truth.sum())
    assert np.mean(covered) > 0.9
    assert min(covered) > 0.6
    assert 0.05 < np.mean(excess) < 0.8
    assert np.std(excess) > 0.03


def test_an_object_in_two_pieces_gets_one_of_them_marked():
    two = ellipsoid((9, 9, 10), (4, 5, 6)) | ellipsoid((9, 24, 34), (4, 5, 6))
    for kind in ("box", "lasso"):
        for seed in range(12):
            drawn = placed(DRAW[kind](two, two, np.random.default_rng(seed)))
            assert not (drawn[:, :17, :23].any() and drawn[:, 17:, 23:].any())
