import numpy as np
import pytest

from nnunetv2_supervoxel.generation.intensity import IntensityWindow, count_not_finite, to_uint8_rgb


def test_values_outside_the_percentiles_are_clipped(rng: np.random.Generator) -> None:
    volume = rng.permutation(np.arange(10_000, dtype=np.float32)).reshape(1, 10, 20, 50)
    window = IntensityWindow.of(volume, (10, 90))
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
    clean = IntensityWindow.of(volume, (0.5, 99.5))
    volume[0, 0, 0, :3] = np.nan, np.inf, -np.inf
    assert count_not_finite(volume) == 3
    window = IntensityWindow.of(volume, (0.5, 99.5))
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
    window = IntensityWindow.of(volume, (0.5, 99.5))
    assert not window.is_constant
    assert window(volume[:, 10])[0, 10, 10] == 1


@pytest.mark.parametrize("value", [0.0, -3.5, np.nan, np.inf])
def test_a_constant_volume_is_recognised(value: float) -> None:
    assert IntensityWindow.of(np.full((1, 3, 4, 5), value, np.float32), (0.5, 99.5)).is_constant
