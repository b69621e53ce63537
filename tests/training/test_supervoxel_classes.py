"""Classes of supervoxels: how they are made, and what a patch shows."""

import numpy as np
import pytest

from nnunetv2_supervoxel.training.supervoxel_classes import (
    OUTSIDE,
    UNKNOWN,
    SupervoxelClasses,
    make_classes,
)

SHAPE = (20, 30, 44)
FRAME = ((0, 0, 0), (20, 30, 44))  # all around, so that places are relative to the same box in every case
LOW, HIGH = ((2, 4, 20), (5, 9, 25)), ((14, 4, 20), (17, 9, 25))
CORNERS = [((z, y, x), (z + 1, y + 1, x + 1)) for z in (0, 19) for y in (0, 29) for x in (0, 43)]
LEFT, RIGHT = ((8, 18, 4), (12, 24, 10)), ((8, 18, 34), (12, 24, 40))


class Dataset:
    """What `SupervoxelClasses` knows of a dataset: boxes (first voxel, one past the last) by case."""

    def __init__(self, **cases):
        self.cases, self.identifiers = cases, sorted(cases)

    def open_case(self, name):
        return Case(name, self.cases[name])

    def read_locations(self, names):
        return [self.open_case(name).supervoxel_locations for name in names]


class Case:
    """What `SupervoxelClasses` knows of a case."""

    def __init__(self, name, boxes):
        self.name, self.boxes = name, boxes
        self.supervoxel_locations = {
            key: np.insert(np.argwhere(self.supervoxel_patch(key, [(0, size) for size in SHAPE])), 0, key - 1, axis=1)
            for key in range(1, 1 + len(boxes))
        }

    def keys_within(self, bounds):
        return [key for key in self.supervoxel_locations if self.supervoxel_patch(key, bounds).any()]

    def supervoxel_patch(self, key, bounds):
        mask = np.zeros(SHAPE, bool)
        mask[tuple(slice(*side) for side in zip(*self.boxes[key - 1], strict=True))] = True
        return mask[tuple(slice(*side) for side in bounds)]


def moved(box, *by):
    return tuple(tuple(int(c + d) for c, d in zip(corner, by, strict=True)) for corner in box)


@pytest.fixture
def classes():
    return SupervoxelClasses(
        Dataset(a=[FRAME, LOW, HIGH, LEFT], b=[FRAME, moved(HIGH, 1, 0, 1), RIGHT, moved(LOW, 0, 1, -1)]), 4
    )


def test_supervoxels_alike_in_place_and_size_have_one_class(classes):
    a = classes.of(Case("a", [FRAME, LOW, HIGH, LEFT]))
    b = classes.of(Case("b", [FRAME, moved(HIGH, 1, 0, 1), RIGHT, moved(LOW, 0, 1, -1)]))
    assert sorted(a.values()) == [1, 2, 3, 4]
    assert [b[1], b[2], b[4]] == [a[1], a[3], a[2]]
    assert b[3] == a[4]  # left and right
    larger = classes.of(Case("c", [FRAME, ((1, 1, 1), (19, 29, 43)), moved(LOW, 1, 0, 0)]))
    assert larger[2] == a[1]
    assert larger[3] == a[2]


def test_classes_are_the_same_whenever_made(classes):
    again = SupervoxelClasses(
        Dataset(b=[FRAME, moved(HIGH, 1, 0, 1), RIGHT, moved(LOW, 0, 1, -1)], a=[FRAME, LOW, HIGH, LEFT]), 4
    )
    np.testing.assert_array_equal(again.centres, classes.centres)


def test_there_are_no_more_classes_than_supervoxels():
    assert len(SupervoxelClasses(Dataset(a=[FRAME, LOW], b=[FRAME, LOW]), 24)) == 2


def test_datasets_have_classes_of_their_own():
    first, second = make_classes([Dataset(a=[FRAME, LOW, HIGH]), Dataset(b=[FRAME, LOW, LEFT])], 24)
    assert sorted(first.of(Case("a", [FRAME, LOW, HIGH])).values()) == [1, 2, 3]
    assert sorted(second.of(Case("b", [FRAME, LOW, LEFT])).values()) == [4, 5, 6]


@pytest.mark.parametrize("rows", [None, 40])
def test_a_voxel_has_the_class_of_the_smallest_supervoxel_around_it(classes, rows):
    large, inner, outside = ((1, 2, 3), (18, 28, 43)), LOW, HIGH
    case = Case("d", [inner, large, outside, *CORNERS])
    if rows:  # as many for large supervoxels as for small ones, as where nnU-Net draws them
        for key, voxels in case.supervoxel_locations.items():
            case.supervoxel_locations[key] = np.random.default_rng(key).permutation(voxels)[:rows]
    named = classes.of(case)
    bounds = [(1, 12), (3, 29), (10, 43)]
    expected = np.full(SHAPE, UNKNOWN)
    for key, box in ((2, large), (1, inner)):
        expected[tuple(slice(*side) for side in zip(*box, strict=True))] = named[key]
    patch = classes.patch(case, bounds)
    assert patch.dtype == np.int16
    np.testing.assert_array_equal(patch, expected[1:12, 3:29, 10:43])
    assert named[1] != named[2]
    assert {named[1], named[2], UNKNOWN} == set(np.unique(patch))


def test_outside_is_what_lies_around_all_supervoxels(classes):
    wedge = ((0, 4, 8), (1, 29, 41)), ((15, 4, 8), (16, 29, 9))  # a plate, and a bar on its left end
    patch = classes.patch(Case("e", wedge), [(0, 20), (2, 30), (6, 44)])
    z, y, x = np.indices(SHAPE)[:, 0:20, 2:30, 6:44]
    within = (y >= 4) & (y < 29) & (x >= 8)
    up, along = z / 15, (x - 8) / 32
    assert (patch[within & (up + along < 0.93)] != OUTSIDE).all()
    assert (patch[within & (up + along < 0.93) & (z > 0) & (x > 8)] == UNKNOWN).all()
    assert (patch[~within | (up + along > 1.1)] == OUTSIDE).all()
    assert (classes.patch(Case("empty", [((3, 4, 5), (3, 9, 9))]), [(0, 5), (1, 5), (2, 5)]) == UNKNOWN).all()
    flat = classes.patch(Case("f", [((3, 4, 5), (4, 9, 12)), ((3, 15, 30), (4, 20, 33))]), [(0, 20), (0, 30), (0, 44)])
    assert set(np.unique(flat[3, 4:20, 5:33])) >= {UNKNOWN}
    flat[3, 4:20, 5:33] = OUTSIDE
    assert (flat == OUTSIDE).all()
