"""A full-size case through `SuperVoxel_generate`'s own function, and how much memory that took.

The case is a phantom in a Blosc2 file, and real supervoxel files are written. All of this happens in a process of its
own. Its figure is the peak of resident memory, less what the process held when the models were loaded, and less the
volume.

    python scripts/benchmark_memory.py                              # 20 supervoxels in 600 x 512 x 512
    python scripts/benchmark_memory.py --shape 60 128 160           # a quick look
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import blosc2
import numpy as np
import torch
from benchmarking.clock import Clock
from benchmarking.processes import MemoryPeak, in_own_process
from benchmarking.report import make_parser, report
from scipy import ndimage

from nnunetv2_supervoxel import GenerationConfig, SupervoxelGenerator, generate_folder, load_config
from nnunetv2_supervoxel.config import find_config
from nnunetv2_supervoxel.phantoms import make_phantom
from nnunetv2_supervoxel.runners.serial import SerialRunner

DRAWN_UP_TO = 160  # voxels along an axis; larger phantoms are enlarged smaller ones
SLICES_AT_ONCE = 20


def main() -> None:
    arguments = _parse()
    with TemporaryDirectory() as folder:
        _write_case(Path(folder), arguments.shape, arguments.seed)
        row = in_own_process(_generate, Path(folder), arguments)
    report([row], {"seed": arguments.seed, "threads": row.pop("threads")}, arguments.json)


def _write_case(folder: Path, shape: tuple[int, int, int], seed: int) -> None:
    """Write a phantom as a float32 Blosc2 array (1, z, y, x), a few slices at a time."""
    drawn = tuple(min(size, DRAWN_UP_TO) for size in shape)
    small = make_phantom(drawn, np.random.default_rng(seed)).image
    (folder / "in").mkdir()
    chunks = (1, SLICES_AT_ONCE, *shape[1:])
    array = blosc2.zeros((1, *shape), np.float32, urlpath=str(folder / "in" / "case.b2nd"), chunks=chunks)
    factors = [size / size_drawn for size, size_drawn in zip(shape[1:], drawn[1:], strict=True)]
    places = np.linspace(0, drawn[0] - 1, shape[0])
    for start in range(0, shape[0], SLICES_AT_ONCE):
        images = [_between(small, place) for place in places[start : start + SLICES_AT_ONCE]]
        enlarged = [ndimage.zoom(image, factors, order=1, grid_mode=True, mode="nearest") for image in images]
        array[0, start : start + len(images)] = np.stack(enlarged)


def _between(volume: np.ndarray, place: float) -> np.ndarray:
    """The image at a place between two slices."""
    below, share = int(place), place - int(place)
    return (1 - share) * volume[below] + share * volume[min(below + 1, len(volume) - 1)]


def _generate(folder: Path, arguments: argparse.Namespace) -> dict:
    """Generate the case's supervoxels in this process; the figures."""
    settings = load_config(find_config("tiny"), GenerationConfig).model_dump() | {
        "file_format": ".b2nd",
        "pred_iou_thresh": 0.2,  # whatever SAM proposes will do, if there are enough of them
        "stability_score_thresh": 0.3,
        "points_per_batch": arguments.points_per_batch,
    }
    generator = SupervoxelGenerator(GenerationConfig(**settings), arguments.device)
    peak, clock, volume = MemoryPeak(), Clock(), 4 * int(np.prod(arguments.shape))
    peak.restart()
    with clock("generation"):
        [case] = generate_folder(folder / "in", folder / "out", runner=SerialRunner(generator))
    return {
        "shape": " x ".join(map(str, arguments.shape)),
        "status": case.status,
        "supervoxels": case.supervoxels,
        "million voxels in them": case.voxels / 1e6,
        "seconds": clock.total("generation"),
        "volume MB": volume / 1e6,
        "beyond the volume MB": (peak.bytes() - volume) / 1e6,
        "threads": torch.get_num_threads(),
    }


def _parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=[600, 512, 512], metavar=("Z", "Y", "X"))
    parser.add_argument("--seed", type=int, default=4, help="of the phantom")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--points-per-batch",
        type=int,
        default=64,
        help="of SAM, whose masks of one batch are in memory together, at full size",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
