"""Many keyframes: one sweep along each axis for all of them, and one propagation for each, side by side.

Both ways make the supervoxels of the same phantom from the same proposals, with the same model. Without the sweep, each
keyframe's propagation encodes the slices again that it passes. Each way runs in a process of its own.

    python scripts/benchmark_keyframes.py                                    # 18 keyframes, 3 axes, 255 objects
    python scripts/benchmark_keyframes.py --size 40 56 72 --keyframes 6 --objects 40     # a quick look
    python scripts/benchmark_keyframes.py --device cuda --config config
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from benchmarking.clock import Clock
from benchmarking.processes import MemoryPeak, in_own_process
from benchmarking.report import make_parser, report

from nnunetv2_supervoxel import GenerationConfig, SupervoxelGenerator
from nnunetv2_supervoxel.config import find_config, load_config
from nnunetv2_supervoxel.generation.sam.encoding import FrameReader
from nnunetv2_supervoxel.generation.sam.propagation import Propagator, Seeds
from nnunetv2_supervoxel.generation.sam.proposals import Proposer
from nnunetv2_supervoxel.generation.sam.tracks import Track
from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel
from nnunetv2_supervoxel.phantoms import make_phantom
from nnunetv2_supervoxel.threads_and_heap import share_machine

WAYS = ("keyframe by keyframe", "one sweep per axis")


def main() -> None:
    arguments = _parse()
    runs = [in_own_process(_run, way, arguments) for way in WAYS]
    for run in runs:
        print(f"{run['way']}: {run['s']:.1f} s", flush=True)
    apart, together = runs
    agreement = [_dice(*pair) for pair in zip(apart.pop("found"), together.pop("found"), strict=True)]
    ratios = {stage: apart[stage] / together[stage] for stage in ("propagation s", "s")}
    print()
    settings = {name: value for name, value in vars(arguments).items() if name != "json"}
    report(runs, settings | {"ratios": ratios, "dice": agreement}, arguments.json)
    print(
        f"\nOne sweep per axis: propagation {ratios['propagation s']:.2f} times as fast, the whole case "
        f"{ratios['s']:.2f} times; {len(agreement)} supervoxels, Dice {min(agreement):.5f} or more."
    )


def _run(way: str, arguments: argparse.Namespace) -> dict:
    """Make the supervoxels in one way, in this process: seconds, memory, and what was found."""
    share_machine()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    settings = {
        "keyframes": arguments.keyframes,
        "axis": (0, 1, 2),
        "masks_per_image": arguments.objects,
        "seed": arguments.seed,
    }
    template = load_config(find_config(arguments.config), GenerationConfig)
    config = GenerationConfig(**(template.model_dump() | settings))
    generator = SupervoxelGenerator(config, arguments.device)
    image = make_phantom(tuple(arguments.size), np.random.default_rng(arguments.seed)).image
    clock, peak = Clock(generator.device), MemoryPeak()
    proposer, propagator = (
        _Proposing(generator.method._propose, clock),
        _Propagating(generator.method._propagate, clock, way),
    )
    generator.method._propose, generator.method._propagate = proposer, propagator
    peak.restart()
    with clock("all"):
        supervoxels = generator(image).supervoxels
    stages = {f"{stage} s": clock.total(stage) for stage in ("proposals", "propagation")}
    return {
        "way": way,
        **stages,
        "rest s": clock.total("all") - sum(stages.values()),
        "s": clock.total("all"),
        "slices read": propagator.read,
        "peak MB": peak.bytes() / 1e6,
        "found": list(supervoxels),
    }


class _Proposing:
    """The proposer, with its time taken."""

    def __init__(self, propose: Proposer, clock: Clock) -> None:
        self._propose, self._clock = propose, clock

    def __call__(self, image: np.ndarray) -> list:
        with self._clock("proposals"):
            return self._propose(image)


class _Propagating:
    """The propagator in one of the two ways, with its time taken.

    Attributes:
        read: slices that were read, which is how many were encoded.
    """

    def __init__(self, propagate: Propagator, clock: Clock, way: str) -> None:
        self._propagate, self._clock, self._way = propagate, clock, way
        self.read = 0

    def __call__(self, read_frame: FrameReader, frames: int, seeds: Sequence[Seeds]) -> list[list[Track]]:
        def counting(frame: int) -> np.ndarray:
            self.read += 1
            return read_frame(frame)

        with self._clock("propagation"):
            if self._way == WAYS[0]:
                return [tracks for of in seeds for tracks in self._propagate(counting, frames, [of])]
            return self._propagate(counting, frames, seeds)


def _dice(one: Supervoxel, other: Supervoxel) -> float:
    """Dice of two supervoxels of the same volume."""
    start = np.minimum(one.origin, other.origin)
    stop = np.maximum(np.add(one.origin, one.shape), np.add(other.origin, other.shape))
    masks = np.zeros((2, *(stop - start)), bool)
    for mask, supervoxel in zip(masks, (one, other), strict=True):
        first = np.subtract(supervoxel.origin, start)
        mask[tuple(map(slice, first, first + supervoxel.shape))] = supervoxel.mask
    return float(2 * np.count_nonzero(masks.all(0)) / max(1, np.count_nonzero(masks)))


def _parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--size", type=int, nargs=3, default=[120, 160, 144], metavar=("Z", "Y", "X"), help="voxels")
    parser.add_argument("--keyframes", type=int, default=18)
    parser.add_argument("--objects", type=int, default=255, help="supervoxels at most")
    parser.add_argument("--config", default="tiny", help="template or YAML file of what isn't said here")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="of PyTorch; default: its own")
    parser.add_argument("--seed", type=int, default=4, help="of the phantom and of what is drawn")
    return parser.parse_args()


if __name__ == "__main__":
    main()
