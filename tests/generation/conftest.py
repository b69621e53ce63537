"""Images with known content, and generators under other settings."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
from nilearn import datasets

from nnunetv2_supervoxel import GenerationConfig, SupervoxelGenerator, SupervoxelSet
from nnunetv2_supervoxel.generation.intensity import IntensityWindow
from nnunetv2_supervoxel.generation.sam.proposals import Proposer
from nnunetv2_supervoxel.phantoms import Phantom, make_phantom


@pytest.fixture(scope="session")
def brain() -> np.ndarray:
    """MNI152 T1 at 2 mm, (z, y, x), three different sizes."""
    return datasets.load_mni152_template(resolution=2).get_fdata().T.astype(np.float32)


@pytest.fixture
def brain_slice(brain: np.ndarray) -> np.ndarray:
    """One axial slice, windowed: float32 (3, h, w) in [0, 1]."""
    volume = brain[None]
    return IntensityWindow.of_percentiles(volume, [(0.5, 99.5)])(volume[:, 45])


@pytest.fixture(scope="session")
def moving_objects() -> tuple[np.ndarray, np.ndarray, int]:
    """Volume (24, 70, 90) with four discs that drift, grow, shrink and end; their masks on slice 9; that slice."""
    z, y, x = np.indices((24, 70, 90))
    drift = (z - 9) * 0.6
    discs = [
        (y - 20 - drift) ** 2 + (x - 20) ** 2 < (9 + 0.3 * (z - 9)) ** 2,
        ((y - 50) ** 2 + (x - 30 + drift) ** 2 < 11**2) & (z >= 5) & (z < 15),
        (y - 22) ** 2 / 100 + (x - 62 - drift) ** 2 / 200 < 1,
        ((y - 50) ** 2 + (x - 68) ** 2 < (1.2 * (18 - z)) ** 2) & (z > 2) & (z < 18),
    ]
    volume = np.full(z.shape, 0.15, np.float32)
    for disc, level in zip(discs, (0.6, 0.9, 0.45, 0.75), strict=True):
        volume[disc] = level
    volume += np.random.default_rng(0).normal(0, 0.01, volume.shape).astype(np.float32)
    return np.clip(volume, 0, 1), np.stack([disc[9] for disc in discs]), 9


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    return make_phantom((40, 88, 112), np.random.default_rng(1))


@pytest.fixture(scope="session")
def found(generator: SupervoxelGenerator, phantom: Phantom) -> SupervoxelSet:
    """The phantom's supervoxels under `tiny`, made once."""
    return generator(phantom.image, (3.0, 1.0, 1.0), "phantom")


@pytest.fixture(scope="session")
def with_config() -> Callable[..., SupervoxelGenerator]:
    """The same loaded models under another config: `with_config(generator, seed=3)`."""

    def changed(generator: SupervoxelGenerator, **changes: object) -> SupervoxelGenerator:
        other = copy.copy(generator)
        other.method = copy.copy(generator.method)
        other.config = other.method.config = GenerationConfig(**(generator.config.model_dump() | changes))
        propose = generator.method._propose
        if isinstance(propose, Proposer):  # and not a test's own
            other.method._propose = Proposer(propose._generator.predictor.model, other.config)
        return other

    return changed
