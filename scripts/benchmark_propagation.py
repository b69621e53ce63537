"""Propagation: the usual way and ours, side by side, on the same frames, seeds and weights.

The usual way drives the official `SAM2VideoPredictor` as people do. The whole volume is resized up front. One state
gets the masks of all objects, and one call of `propagate_in_video` tracks them to the end of the volume. A second state
does the same backwards, on images flipped in memory. Every frame's memory is kept. Results land in a float64 array of n
times the volume, in which cc3d searches each object's components. Our way is what `nnUNetv2_supervoxel_generate` does
between proposals and files. Each side runs in a process of its own, so that its peak memory is its own.

    python scripts/benchmark_propagation.py                          # 60, 120 and 240 slices, tiny checkpoints
    python scripts/benchmark_propagation.py --slices 30 --objects 6  # a quick look
    python scripts/benchmark_propagation.py --device cuda --checkpoint large

The volumes are phantoms. The seeds are their true objects on the middle slice, with outlines shifted a little. If there
are fewer of them than asked for, they are taken again with another outline, as SAM proposes one object in several ways.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import blosc2
import cc3d
import numpy as np
import torch
from benchmarking.clock import Clock
from benchmarking.official import resized, track_together
from benchmarking.processes import MemoryPeak, in_own_process
from benchmarking.report import make_parser, report
from sam2.sam2_video_predictor import SAM2VideoPredictor
from scipy import ndimage

from nnunetv2_supervoxel.checkpoints.loading import load_sam2
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.generation.methods.sam import supervoxels_of
from nnunetv2_supervoxel.generation.sam.propagation import Propagator, Seeds
from nnunetv2_supervoxel.generation.sam.proposals import Proposal
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet
from nnunetv2_supervoxel.phantoms import make_phantom
from nnunetv2_supervoxel.threads_and_heap import share_machine

SMALLEST_SEED = 100  # pixels

Way = Callable[[np.ndarray, np.ndarray, int, Clock], dict]  # takes volume, seeds, keyframe and a clock


def main() -> None:
    arguments = _parse()
    runs = []
    for slices in arguments.slices:
        with TemporaryDirectory() as folder:
            runs.append(_compare(arguments, slices, Path(folder)))
        print(f"{slices} slices: {_row(runs[-1])}", flush=True)
    flatness = _beyond(runs[-1]["ours"]) / _beyond(runs[0]["ours"])
    names = ("size", "objects", "checkpoint", "device", "precision", "threads", "seed")
    settings = {name: getattr(arguments, name) for name in names} | {"flatness": flatness, "runs": runs}
    print()
    report([_row(run) for run in runs], settings, arguments.json)
    print(
        f"\nOurs beyond input and output, {arguments.slices[-1]} slices against {arguments.slices[0]}: {flatness:.2f}"
    )


def make_case(slices: int, size: tuple[int, int], objects: int, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """A phantom (z, y, x) in [0, 1], masks (n, y, x) of its objects on the keyframe slice, and that slice."""
    rng = np.random.default_rng(seed)
    phantom = make_phantom((slices, *size), rng)
    keyframe = slices // 2
    candidates = []
    for mask in phantom.objects:
        labels, count = ndimage.label(mask[keyframe])
        candidates += [part for part in (labels == i + 1 for i in range(count)) if part.sum() >= SMALLEST_SEED]
    if not candidates:
        raise SystemExit(f"No object of the phantom is on its middle slice; take another --seed than {seed}.")
    order = [i for _ in range(-(-objects // len(candidates))) for i in rng.permutation(len(candidates))]
    return np.clip(phantom.image, 0, 1), np.stack([_perturbed(candidates[i], rng) for i in order[:objects]]), keyframe


def _perturbed(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mask with a rounder outline that lies a little inside or outside of the true one."""
    return ndimage.gaussian_filter(mask.astype(np.float32), 1.5) > rng.uniform(0.35, 0.65)


def _compare(arguments: argparse.Namespace, slices: int, folder: Path) -> dict:
    """Both sides on one case: their reports, and the Dice of every object."""
    volume, seeds, keyframe = make_case(slices, tuple(arguments.size), arguments.objects, arguments.seed)
    np.savez(folder / "case.npz", volume=volume, seeds=seeds, keyframe=keyframe)
    result = {"slices": slices, "shape": volume.shape, "objects": len(seeds)}
    for side in ("reference", "ours"):
        result[side] = in_own_process(_run_side, side, folder, arguments)
    reference, ours = (blosc2.open(str(folder / f"{side}.b2nd"), mode="r") for side in ("reference", "ours"))
    kept, nothing = result["ours"]["kept"], np.zeros(volume.shape, np.uint8)
    found = (ours[kept.index(i)] if i in kept else nothing for i in range(len(seeds)))
    result["dice"] = [_dice(reference[i], mask) for i, mask in enumerate(found)]
    return result


def _row(result: dict) -> dict[str, object]:
    """The figures of one volume, for the table."""
    usual, ours = result["reference"], result["ours"]
    memory = [(side["peak"] - side["input"]) / 1e6 for side in (usual, ours)]
    return {
        "slices": result["slices"],
        "usual s": usual["seconds"]["all"],
        "ours s": ours["seconds"]["all"],
        "times faster": usual["seconds"]["all"] / ours["seconds"]["all"],
        "usual MB": memory[0],
        "ours MB": memory[1],
        "share of memory": memory[1] / memory[0],
        "usual beyond in/out MB": _beyond(usual) / 1e6,
        "ours beyond in/out MB": _beyond(ours) / 1e6,
        "min Dice": min(result["dice"]),
    }


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice of two uint8 masks; 1 if both are empty."""
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / total if total else 1.0


def _beyond(figures: dict) -> int:
    """Peak memory in bytes, less what goes in and what comes out."""
    return figures["peak"] - figures["input"] - figures["output"]


def _run_side(side: str, folder: Path, arguments: argparse.Namespace) -> dict:
    """One side, in this process: its result goes into `SIDE.b2nd`, its figures are returned."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    run = {"reference": _reference, "ours": _ours}[side](folder, arguments)
    peak, clock = MemoryPeak(), Clock()
    with np.load(folder / "case.npz") as case:
        volume, seeds, keyframe = case["volume"], case["seeds"], int(case["keyframe"])
    peak.restart()
    figures = run(volume, seeds, keyframe, clock)
    seconds = {stage: clock.total(stage) for stage in clock.times}
    seconds["all"] = sum(seconds.values())
    figures |= {"seconds": seconds, "peak": peak.bytes(), "input": volume.nbytes + seeds.nbytes}
    if arguments.device.startswith("cuda"):
        figures["peak_on_device"] = torch.cuda.max_memory_allocated()
    return figures


def _ours(folder: Path, arguments: argparse.Namespace) -> Way:
    """Load the model; what tracks, selects components and writes."""
    share_machine()  # as the command does
    propagate = Propagator(load_sam2(arguments.checkpoint, arguments.device).model, precision=arguments.precision)

    def run(volume: np.ndarray, seeds: np.ndarray, keyframe: int, clock: Clock) -> dict:
        with clock("tracking"):
            [tracks] = propagate(lambda frame: volume[frame][None], len(volume), [Seeds(keyframe, seeds)])
        with clock("components"):
            found = supervoxels_of(tracks, [Proposal(seed, 1.0, 1.0) for seed in seeds], keyframe, axis=0)
        with clock("writing"):
            kept = [i for i, supervoxel in enumerate(found) if supervoxel is not None]
            supervoxels = SupervoxelSet(volume.shape, tuple(found[i] for i in kept))
            supervoxel_files.write_case(folder, "ours", supervoxels, {})
        return {"kept": kept, "output": 0}  # it is on the disk, and nowhere else as a whole

    return run


def _reference(folder: Path, arguments: argparse.Namespace) -> Way:
    """Load the model; what does the same the usual way."""
    device = torch.device(arguments.device)
    predictor = load_sam2(arguments.checkpoint, device, model_class=SAM2VideoPredictor).model
    precision = torch.autocast(device.type, torch.bfloat16) if device.type == "cuda" else nullcontext()

    def run(volume: np.ndarray, seeds: np.ndarray, keyframe: int, clock: Clock) -> dict:
        result = np.zeros((len(seeds), *volume.shape))
        with clock("resizing"):
            frames = resized(volume, predictor.image_size)
        with clock("tracking"), precision:
            track_together(predictor, frames, seeds, keyframe, result)
            track_together(predictor, frames.flip(0), seeds, len(volume) - 1 - keyframe, result[:, ::-1])
        with clock("components"):
            for mask, seed in zip(result, seeds, strict=True):
                labels = cc3d.connected_components(mask > 0, connectivity=26)
                votes = np.bincount(labels[keyframe][seed], minlength=2)
                votes[0] = 0
                mask[:] = labels == (votes.argmax() or -1)
        with clock("writing"):
            blosc2.asarray(result.astype(np.uint8), urlpath=str(folder / "reference.b2nd"))
        return {"output": result.nbytes}

    return run


def _parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--slices", type=int, nargs="+", default=[60, 120, 240], help="one volume for each")
    parser.add_argument("--size", type=int, nargs=2, default=[256, 320], metavar=("Y", "X"), help="pixels of a slice")
    parser.add_argument("--objects", type=int, default=20)
    parser.add_argument("--checkpoint", default="bundled", help="SAM 2.1: registry name or path")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto", help="of our way")
    parser.add_argument("--threads", type=int, help="of PyTorch, for both sides; default: PyTorch's own")
    parser.add_argument("--seed", type=int, default=4, help="of the phantom and its outlines")
    return parser.parse_args()


if __name__ == "__main__":
    main()
