import numpy as np
import pytest
from scipy import ndimage

from nnunetv2_supervoxel.phantoms.body import branches, lump, paint_body, sheet
from nnunetv2_supervoxel.phantoms.shapes import warped_grid

SHAPE = (48, 80, 112)


@pytest.fixture
def grid(rng: np.random.Generator) -> np.ndarray:
    return warped_grid(SHAPE, rng)


def test_a_body_has_what_a_body_has() -> None:
    canvases = [paint_body(SHAPE, np.random.default_rng(seed)) for seed in range(12)]
    tissues = [tissue for canvas in canvases for tissue in canvas.tissues]
    assert set(tissues) == {"air", "fat", "muscle", "organ", "fluid", "vessel", "bone", "marrow"}
    for canvas in canvases:
        assert canvas.tissues[:2] == ["fat", "muscle"]
        marrow_in = [
            canvas.tissues[p - 1] for p, t in zip(canvas.parents, canvas.tissues, strict=True) if t == "marrow"
        ]
        assert set(marrow_in) <= {"bone"}


def test_a_lump_is_one_piece_about_its_center(grid: np.ndarray, rng: np.random.Generator) -> None:
    center, radii = np.array([20.0, 30, 60]), np.array([8.0, 14, 10])
    mask, box = lump(grid, center, radii, rng)
    volume = np.zeros(SHAPE, bool)
    volume[box] = mask
    assert np.abs(np.array(ndimage.center_of_mass(volume)) - center).max() < 8
    assert 0.5 < volume.sum() / (4 / 3 * np.pi * radii.prod()) < 2


def test_a_lump_outside_the_volume_is_empty(grid: np.ndarray, rng: np.random.Generator) -> None:
    mask, _ = lump(grid, np.array([200.0, 30, 60]), np.array([8.0, 14, 10]), rng)
    assert not mask.any()


def test_branches_are_thin_and_long(grid: np.ndarray) -> None:
    for seed in range(8):
        mask = branches(grid, np.array([24.0, 40, 56]), np.array(SHAPE, float), np.random.default_rng(seed))
        deepest = ndimage.distance_transform_edt(mask).max()
        length = np.ptp(np.argwhere(mask), axis=0).max()
        assert deepest < 9
        assert length > 3 * deepest


def test_a_sheet_is_thin_and_wide(grid: np.ndarray) -> None:
    for seed in range(8):
        mask = sheet(grid, np.array([24.0, 40, 56]), np.array(SHAPE, float), np.random.default_rng(seed))
        assert 1 <= ndimage.distance_transform_edt(mask).max() < 6
        assert np.ptp(np.argwhere(mask), axis=0).max() > 15
