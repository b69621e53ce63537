import numpy as np
import pytest

from nnunetv2_supervoxel.generation import intensity
from nnunetv2_supervoxel.generation.intensity import IntensityWindow, count_not_finite, to_uint8_rgb


def test_values_outside_the_percentiles_are_clipped(rng: np.random.Generator) -> None:
    volume = rng.permutation(np.arange(10_000, dtype=np.float32)).reshape(1, 10, 20, 50)
    window = IntensityWindow.of_percentiles(volume, [(10, 90)])
    shown = np.stack([window(volume[:, z]) for z in range(10)], axis=1)
    assert shown.shape == (3, 10, 20, 50)
    assert shown.dtype == np.float32
    assert (shown.min(), shown.max()) == (0, 1)
    assert np.mean(shown[0] == 0) == pytest.approx(0.1, abs=0.001)
    assert np.mean(shown[0] == 1) == pytest.approx(0.1, abs=0.001)
    middle = (volume[0] > 2000) & (volume[0] < 8000)
    np.testing.assert_allclose(shown[1][middle], (volume[0][middle] - 999.9) / 7999.2, atol=1e-4)


def test_nan_and_infinity_do_not_reach_the_models(rng: np.random.Generator) -> None:
    volume = rng.normal(size=(1, 6, 20, 30)).astype(np.float32)
    clean = IntensityWindow.of_percentiles(volume, [(0.5, 99.5)])
    volume[0, 0, 0, :3] = np.nan, np.inf, -np.inf
    assert count_not_finite(volume) == 3
    window = IntensityWindow.of_percentiles(volume, [(0.5, 99.5)])
    np.testing.assert_allclose(window.low, clean.low, atol=0.02)
    np.testing.assert_array_equal(window(volume[:, 0])[0, 0, :3], [0, 1, 0])


def test_two_channels_are_red_and_green() -> None:
    image = np.stack([np.full((4, 5), 10.0), np.full((4, 5), 30.0)])
    window = IntensityWindow(np.array([0, 20], np.float32), np.array([10, 40], np.float32))
    np.testing.assert_allclose(window(image)[:, 0, 0], [1, 0.5, 0])
    np.testing.assert_array_equal(to_uint8_rgb(window(image))[3, 4], [255, 128, 0])


def test_a_small_object_in_an_empty_volume_is_still_seen() -> None:
    volume = np.zeros((1, 20, 30, 40), np.int16)
    volume[0, 10, 10:12, 10:12] = 700
    window = IntensityWindow.of_percentiles(volume, [(0.5, 99.5)])
    assert not window.is_constant
    assert window(volume[:, 10])[0, 10, 10] == 1


@pytest.mark.parametrize("value", [0.0, -3.5, np.nan, np.inf])
def test_a_constant_volume_is_recognised(value: float) -> None:
    assert IntensityWindow.of_percentiles(np.full((1, 3, 4, 5), value, np.float32), [(0.5, 99.5)]).is_constant


def test_several_pairs_of_percentiles_are_colours_of_one_channel() -> None:
    volume = np.arange(1001, dtype=np.float32).reshape(1, 7, 11, 13)
    window = IntensityWindow.of_percentiles(volume, [(0, 50), (50, 100), (20, 30)])
    np.testing.assert_allclose(window.low, [0, 500, 200])
    np.testing.assert_allclose(window.high, [500, 1000, 300])
    shown = window(np.full((1, 2, 3), 250.0))
    np.testing.assert_allclose(shown[:, 1, 2], [0.5, 0, 0.5])


def test_windows_are_in_the_images_units() -> None:
    volume = np.random.default_rng(0).normal(0, 300, (1, 5, 6, 7))
    windows = [(-600, 1500), (50, 350), (500, 2000)]
    raw = IntensityWindow.of_units(volume, windows, [(0.0, 1.0)])
    np.testing.assert_allclose(raw.low, [-1350, -125, -500])
    np.testing.assert_allclose(raw.high, [150, 225, 1500])
    stored = IntensityWindow.of_units((volume - 90) / 40, windows, [(90.0, 40.0)])
    np.testing.assert_allclose(stored((volume[:, 2] - 90) / 40), raw(volume[:, 2]), atol=1e-5)
    assert IntensityWindow.of_units(np.full((1, 3, 4, 5), 7), windows, [(0.0, 1.0)]).is_constant
    one_for_both = IntensityWindow.of_units(np.stack([volume[0]] * 2), [(50, 350)], [(0.0, 1.0), (90.0, 40.0)])
    np.testing.assert_allclose(one_for_both.low, [-125, -215 / 40])


def ct(padding: int) -> np.ndarray:
    """A CT (1, z, y, x): soft tissue in air, and padding outside the scanner's circle."""
    z, y, x = np.indices((6, 60, 50))
    radius = (y - 29.5) ** 2 / 30**2 + (x - 24.5) ** 2 / 25**2
    hu = np.where(radius < 0.5, 40 + 3 * z, -1000) + np.random.default_rng(0).normal(0, 10, z.shape)
    return np.where(radius < 1, hu, padding).astype(np.int16)[None]


@pytest.mark.parametrize("padding", [-2000, -3024])
def test_padding_of_a_ct_takes_no_contrast(padding: int) -> None:
    image = ct(padding)
    window = IntensityWindow.of_percentiles(image, [(0.5, 99.5)])
    np.testing.assert_allclose([window.low[0], window.high[0]], [-1025, 75], atol=12)
    air = ct(-1000)
    np.testing.assert_allclose(window.low, IntensityWindow.of_percentiles(air, [(0.5, 99.5)]).low, atol=5)
    assert window(image[:, 3])[0, 0, 0] == 0


@pytest.mark.parametrize("offset", [0, -1500])
def test_a_background_that_is_no_padding_counts(offset: int) -> None:
    image = ct(-1000).astype(np.float32) + 1000  # an empty background at 0
    image[0, :, 0, 0] = offset  # the lowest, but in a quarter of the corners only
    low = IntensityWindow.of_percentiles(image, [(0.5, 99.5)]).low[0]
    assert low == pytest.approx(np.percentile(image, 0.5))


def ramp(*, offset: float, step: float, dtype: type) -> np.ndarray:
    """A volume (1, z, y, x) of 840 different values."""
    steps = np.random.default_rng(0).permutation(np.arange(5 * 12 * 14)).reshape(1, 5, 12, 14)
    if np.issubdtype(dtype, np.integer):
        return (int(offset) + int(step) * steps.astype(object)).astype(dtype)
    return (np.longdouble(offset) + np.longdouble(step) * steps).astype(dtype)


@pytest.mark.parametrize(
    ("offset", "step", "dtype"),
    [
        (10**9, 1, np.int32),
        (-(10**9), 3, np.int64),
        (10**18, 1, np.int64),
        (2**63, 1, np.uint64),
        (1e9, 1e-3, np.float64),
        (1e300, 1e297, np.float64),
        (-1.7e308, 4e305, np.float64),
        (-3.3e38, 7.8e35, np.float32),
        (0, 1e-300, np.float64),
    ],
)
def test_values_beyond_float32_lose_nothing(offset: float, step: float, dtype: type) -> None:
    """Offsets that float32 can't hold together with the detail; spans that are beyond the type itself."""
    usual = ramp(offset=0, step=1, dtype=np.float32)
    volume = ramp(offset=offset, step=step, dtype=dtype)
    shown = IntensityWindow.of_percentiles(volume, [(0.5, 99.5)])
    expected = IntensityWindow.of_percentiles(usual, [(0.5, 99.5)])
    assert not shown.is_constant
    for z in range(5):
        seen = shown(volume[:, z])
        assert seen.dtype == np.float32
        np.testing.assert_allclose(seen, expected(usual[:, z]), atol=6e-4)  # half a step


def test_windows_in_units_of_large_values() -> None:
    volume = ramp(offset=10**9, step=1, dtype=np.int64)
    window = IntensityWindow.of_units(volume, [(10**9 + 420, 840)], [(0.0, 1.0)])
    np.testing.assert_allclose(window(volume[:, 2])[0], (volume[0, 2] - 10**9) / 840, atol=1e-5)


def test_boolean_volumes_are_black_and_white() -> None:
    volume = np.zeros((1, 5, 12, 14), bool)
    volume[0, 1:4, 3:9, 4:10] = True
    window = IntensityWindow.of_percentiles(volume, [(0.5, 99.5)])
    np.testing.assert_array_equal(window(volume[:, 2])[0], volume[0, 2])
    assert IntensityWindow.of_percentiles(~(volume | True), [(0.5, 99.5)]).is_constant
    windowed = IntensityWindow.of_units(volume, [(0.5, 2)], [(0.0, 1.0)])
    np.testing.assert_allclose(windowed(volume[:, 2])[0], np.where(volume[0, 2], 0.75, 0.25))


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.float32])
def test_usual_values_are_windowed_in_float32(dtype: type) -> None:
    """All types give the very same picture."""
    volume = np.random.default_rng(0).integers(-1000, 2000, (1, 5, 12, 14))
    window = IntensityWindow.of_percentiles(volume.astype(dtype), [(0.5, 99.5)])
    assert window.low.dtype == np.float32
    expected = np.float32(np.percentile(volume, (0.5, 99.5)))
    plain = np.clip((volume[0, 3].astype(np.float32) - expected[0]) / (expected[1] - expected[0]), 0, 1)
    np.testing.assert_array_equal(window(volume.astype(dtype)[:, 3])[0], plain)


def test_percentiles_of_a_large_volume_see_all_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every k-th voxel is read. Where k divides the length of a row, that would be the same columns in every row."""
    monkeypatch.setattr(intensity, "_EXACT_UP_TO", 1 << 10)
    volume = np.broadcast_to(np.arange(64, dtype=np.float32), (1, 32, 32, 64))
    window = IntensityWindow.of_percentiles(volume, [(0, 100)])
    assert (window.low, window.high) == (0, 63)
