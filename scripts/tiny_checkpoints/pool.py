"""The phantoms that the tiny checkpoints learn from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nnunetv2_supervoxel import phantoms
from nnunetv2_supervoxel.generation import intensity
from nnunetv2_supervoxel.generation.intensity import IntensityWindow
from nnunetv2_supervoxel.phantoms import Phantom, make_folded_phantom, make_phantom

SHAPES = ((40, 96, 112), (48, 80, 128), (56, 112, 88), (44, 104, 144), (64, 88, 100))


def load_pool(cache: Path, count: int) -> list[Phantom]:
    """Phantoms with images of uint8. Every second one is folded like a brain.

    Args:
        cache: folder. The first call makes the phantoms and keeps them there.
        count: how many.
    """
    folder = cache / _recipe()  # phantoms of another recipe would otherwise pass for these
    folder.mkdir(parents=True, exist_ok=True)
    pool = []
    for seed in tqdm(range(count), desc="phantoms", disable=None):
        file = folder / f"phantom_{seed}.npz"
        if not file.exists():
            _write(_draw(seed), file)
        with np.load(file) as content:
            pool.append(Phantom(content["image"], content["labels"], tuple(content["parents"].tolist())))
    return pool


def _recipe() -> str:
    """Eight digits that stand for the source of all that decides how the phantoms look."""
    sources = [*sorted(Path(phantoms.__file__).parent.glob("*.py")), Path(intensity.__file__), Path(__file__)]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:8]


def _draw(seed: int) -> Phantom:
    """One phantom, its image windowed to uint8."""
    rng = np.random.default_rng([77, seed])
    make = make_folded_phantom if seed % 2 else make_phantom
    phantom = make(SHAPES[rng.integers(len(SHAPES))], rng)
    window = IntensityWindow.of_percentiles(phantom.image[None], [(0.5, 99.5)])
    image = np.stack([window(plane[None])[0] for plane in phantom.image])
    return Phantom(np.rint(image * 255).astype(np.uint8), phantom.labels.astype(np.uint8), phantom.parents)


def _write(phantom: Phantom, file: Path) -> None:
    np.savez(file, image=phantom.image, labels=phantom.labels, parents=np.array(phantom.parents, int))
