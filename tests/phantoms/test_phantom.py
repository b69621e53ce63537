"""Phantoms: the same for the same seed, and what they say of their objects is true."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from nnunetv2_supervoxel.phantoms import Phantom, make_body_phantom, make_folded_phantom, make_phantom

SHAPE = (40, 80, 112)


Make = Callable[[tuple[int, ...], np.random.Generator], Phantom]
EVERY = pytest.mark.parametrize("make", [make_phantom, make_folded_phantom, make_body_phantom])


@pytest.fixture(
    scope="module", params=[make_phantom, make_folded_phantom, make_body_phantom], ids=["plain", "folded", "body"]
)
def phantoms(request: pytest.FixtureRequest) -> list[Phantom]:
    return [request.param(SHAPE, np.random.default_rng(seed)) for seed in range(12)]


@EVERY
def test_same_seed_same_bytes(make: Make) -> None:
    first, second = (make(SHAPE, np.random.default_rng(3)) for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()
    assert first.labels.tobytes() == second.labels.tobytes()
    assert first.parents == second.parents


def test_other_seed_other_volume(phantoms: list[Phantom]) -> None:
    assert len({phantom.image.tobytes() for phantom in phantoms}) == len(phantoms)
    assert len({phantom.labels.tobytes() for phantom in phantoms}) == len(phantoms)


@EVERY
@pytest.mark.parametrize("shape", [(8, 8, 8), (24, 64, 40), (56, 40, 96)])
def test_shapes_and_types(make: Make, shape: tuple[int, int, int]) -> None:
    phantom = make(shape, np.random.default_rng(0))
    assert (phantom.image.shape, phantom.image.dtype) == (shape, np.float32)
    assert (phantom.labels.shape, phantom.labels.dtype) == (shape, np.int16)
    assert np.isfinite(phantom.image).all()
    assert all(mask.shape == shape and mask.dtype == bool for mask in phantom.objects)


@EVERY
@pytest.mark.parametrize("shape", [(7, 64, 64), (64, 64), (2, 16, 16, 16)])
def test_unfit_shapes_are_refused(make: Make, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 8 voxels"):
        make(shape, np.random.default_rng(0))


def test_several_regions(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        assert 3 <= len(phantom.parents) <= 40
        assert set(np.unique(phantom.labels)) <= set(range(len(phantom.parents) + 1))


def test_parents_come_first(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        assert all(0 <= parent < label for label, parent in enumerate(phantom.parents, start=1))


def test_families_hold_all_that_is_nested() -> None:
    empty = np.zeros((8, 8, 8), np.int16)
    phantom = Phantom(empty.astype(np.float32), empty, parents=(0, 1, 2, 0, 4))
    assert phantom.family(1) == [1, 2, 3]
    assert phantom.family(4) == [4, 5]
    assert phantom.family(3) == [3]


def test_objects_are_regions_and_wholes(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        objects = iter(phantom.objects)
        for label in range(1, len(phantom.parents) + 1):
            region = next(objects)
            np.testing.assert_array_equal(region, phantom.labels == label)
            if len(phantom.family(label)) > 1:
                whole = next(objects)
                assert not (region & ~whole).any()
                assert np.count_nonzero(whole) == sum(
                    np.count_nonzero(phantom.labels == member) for member in phantom.family(label)
                )
        assert next(objects, None) is None


def test_nested_regions_lie_within_their_parents(phantoms: list[Phantom]) -> None:
    surroundings = []
    for phantom in phantoms:
        for label, parent in enumerate(phantom.parents, start=1):
            region = phantom.labels == label
            if parent and np.count_nonzero(region) > 200:
                shell = phantom.labels[ndimage.binary_dilation(region) & ~region]
                surroundings.append(np.isin(shell, phantom.family(parent)).mean())
    assert len(surroundings) > 20
    assert np.mean(surroundings) > 0.6  # the others touch or run out of what they are nested in


def test_objects_begin_and_end_inside_the_volume(phantoms: list[Phantom]) -> None:
    inside = [not mask[[0, -1]].any() for phantom in phantoms for mask in phantom.objects if mask.any()]
    assert np.mean(inside) > 0.4
    assert not all(inside)


def test_objects_change_along_z(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        areas = [np.count_nonzero(mask, axis=(1, 2)) for mask in phantom.objects if mask.any()]
        assert all(len(set(area)) > 1 for area in areas)


def test_no_two_objects_alike(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        regions = [phantom.labels == label for label in range(1, len(phantom.parents) + 1)]
        assert len({region.tobytes() for region in regions if region.any()}) == sum(region.any() for region in regions)


def test_sizes_differ_widely(phantoms: list[Phantom]) -> None:
    sizes = [np.count_nonzero(mask) for phantom in phantoms for mask in phantom.objects if mask.any()]
    assert max(sizes) > 100 * min(sizes)


def test_regions_can_be_told_from_what_surrounds_them(phantoms: list[Phantom]) -> None:
    """The mean on either side of an edge differs by more than the noise that stays after averaging."""
    contrasts = []
    for phantom in phantoms:
        for label in range(1, len(phantom.parents) + 1):
            region = ndimage.binary_erosion(phantom.labels == label, iterations=2)
            outside = phantom.labels != label
            around = ndimage.binary_dilation(phantom.labels == label, iterations=4) & ndimage.binary_erosion(outside)
            if np.count_nonzero(region) > 50 and np.count_nonzero(around) > 50:
                contrasts.append(abs(np.median(phantom.image[region]) - np.median(phantom.image[around])))
    assert np.mean(np.array(contrasts) > 0.05) > 0.9
    assert np.median(contrasts) > 0.15
