"""The phantoms that the tiny checkpoints learn from."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nnunetv2_supervoxel import phantoms
from nnunetv2_supervoxel.generation import intensity
from nnunetv2_supervoxel.generation.intensity import IntensityWindow
from nnunetv2_supervoxel.phantoms import Phantom, make_body_phantom, make_folded_phantom, make_phantom

SHAPES = ((40, 96, 112), (48, 80, 128), (56, 112, 88), (44, 104, 144), (64, 88, 100), (72, 88, 104), (96, 72, 84))
KINDS = (make_phantom, make_folded_phantom, make_body_phantom)


def load_pool(cache: Path, count: int) -> list[Phantom]:
    """Phantoms with images of uint8, of the three kinds in turn.

    Args:
        cache: folder. The first call makes the phantoms and keeps them there.
        count: how many.
    """
    folder = cache / _recipe()  # phantoms of another recipe would otherwise pass for these
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as executor:
        drawn = executor.map(partial(_draw_once, folder), range(count), chunksize=4)
        files = list(tqdm(drawn, desc="phantoms", total=count, disable=None))
    pool = []
    for file in files:
        with np.load(file) as content:
            pool.append(Phantom(content["image"], content["labels"], tuple(content["parents"].tolist())))
    return pool


def _draw_once(folder: Path, seed: int) -> Path:
    """The file of a phantom, which is drawn if it isn't there."""
    file = folder / f"phantom_{seed}.npz"
    if not file.exists():
        aside = file.with_suffix(f".{os.getpid()}.npz")
        _write(_draw(seed), aside)
        os.replace(aside, file)  # the training of the other model may be looking for it
    return file


def _recipe() -> str:
    """Eight digits that stand for the source of all that decides how the phantoms look."""
    sources = [*sorted(Path(phantoms.__file__).parent.glob("*.py")), Path(intensity.__file__), Path(__file__)]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:8]


def _draw(seed: int) -> Phantom:
    """One phantom, its image windowed to uint8."""
    rng = np.random.default_rng([77, seed])
    phantom = KINDS[seed % len(KINDS)](SHAPES[rng.integers(len(SHAPES))], rng)
    window = IntensityWindow.of_percentiles(phantom.image[None], [(0.5, 99.5)])
    image = np.stack([window(plane[None])[0] for plane in phantom.image])
    return Phantom(np.rint(image * 255).astype(np.uint8), phantom.labels.astype(np.uint8), phantom.parents)


def _write(phantom: Phantom, file: Path) -> None:
    np.savez(file, image=phantom.image, labels=phantom.labels, parents=np.array(phantom.parents, int))
