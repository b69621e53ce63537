from collections.abc import Callable

import numpy as np
import pytest

from nnunetv2_supervoxel.phantoms.shapes import ellipsoid, ellipsoid_depth, smooth_noise, tube, warped_grid

SHAPE = (20, 40, 50)


@pytest.mark.parametrize("make", [ellipsoid, tube])
@pytest.mark.parametrize("center", [(10.0, 20.0, 25.0), (0.0, 39.0, 49.0)])
def test_a_mask_fills_its_box_and_holds_its_center(make: Callable, center: tuple[float, ...]) -> None:
    grid = np.stack(np.meshgrid(*(np.arange(size, dtype=np.float32) for size in SHAPE), indexing="ij"))
    for seed in range(10):
        mask, box = make(grid, np.array(center), np.array((5.0, 9.0, 12.0)), np.random.default_rng(seed))
        whole = np.zeros(SHAPE, bool)
        whole[box] = mask  # fails if they differ in shape
        assert whole.any()
        if make is ellipsoid:
            assert whole[tuple(int(index) for index in center)]


def test_depth_is_1_in_the_middle_and_0_on_the_surface() -> None:
    grid = np.stack(np.meshgrid(*(np.arange(size, dtype=np.float32) for size in SHAPE), indexing="ij"))
    depth = ellipsoid_depth(grid, np.array((10.0, 20.0, 25.0)), np.array((5.0, 10.0, 20.0)))
    assert depth[10, 20, 25] == 1
    np.testing.assert_allclose([depth[15, 20, 25], depth[10, 10, 25], depth[10, 20, 45]], 0, atol=1e-6)
    assert depth[0, 0, 0] < 0


def test_noise_and_grid_have_the_volumes_shape_and_are_smooth(rng: np.random.Generator) -> None:
    noise = smooth_noise(SHAPE, rng, cells=4)
    assert noise.shape == SHAPE
    assert max(np.abs(np.diff(noise, axis=axis)).max() for axis in range(3)) < np.ptp(noise) / 2
    grid = warped_grid(SHAPE, rng)
    assert grid.shape == (3, *SHAPE)
    assert np.abs(grid[0] - np.arange(20)[:, None, None]).max() > 0.1
