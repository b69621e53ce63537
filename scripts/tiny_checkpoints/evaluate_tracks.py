"""Measure how well a SAM 2 checkpoint follows objects of phantoms never trained on, from true masks on one slice."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from tqdm import tqdm

from nnunetv2_supervoxel.checkpoints.loading import load_sam2
from nnunetv2_supervoxel.generation.intensity import IntensityWindow
from nnunetv2_supervoxel.generation.sam.propagation import Propagator, Seeds
from nnunetv2_supervoxel.phantoms import Phantom, make_body_phantom, make_folded_phantom, make_phantom
from nnunetv2_supervoxel.training.rounds import dice

SHAPES = ((60, 96, 112), (60, 80, 128), (60, 112, 88))
KINDS = {"plain": make_phantom, "folded": make_folded_phantom, "body": make_body_phantom}
HELD_OUT = 910_000  # first seed; train.py draws its own from 0 up
FAR = 20  # slices
LEAST = 40  # pixels on the keyframe
MOST = 12  # objects per phantom


@dataclass(frozen=True)
class TrackResult:
    """How well one object was followed.

    Attributes:
        phantom: its number.
        kind: plain, folded or body.
        dice: of the whole track with the object, over all slices.
        far_dice: of the two on the slices 20 from the keyframe, the mean over those where the object or the track is.
        volume_ratio: the track's voxels by the object's.
    """

    phantom: int
    kind: str
    dice: float
    far_dice: float | None
    volume_ratio: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?", default="bundled", help="name or file (default: %(default)s)")
    parser.add_argument("--phantoms", type=int, default=24, help="number, of each kind a third (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=HELD_OUT, help="of the phantoms (default: %(default)s)")
    parser.add_argument("--max-growth", type=float, help="as max_track_growth (default: none)")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    propagate = Propagator(load_sam2(arguments.checkpoint).model, max_growth=arguments.max_growth)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.phantoms)
    results = [result for seed in tqdm(seeds, desc="phantoms", disable=None) for result in evaluate(propagate, seed)]
    for kind in KINDS:
        print_row(kind, [result for result in results if result.kind == kind])
    print_row("all", results)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(result) for result in results], indent=1))


def print_row(kind: str, results: list[TrackResult]) -> None:
    """Means over objects."""
    if results:
        whole, far = [r.dice for r in results], [r.far_dice for r in results if r.far_dice is not None]
        print(
            f"{kind:<8}{len(results):4d} objects  Dice {np.mean(whole):.3f}  median {np.median(whole):.3f}  "
            f"{FAR} slices away {np.mean(far):.3f}  Dice below 0.5 {np.mean(np.array(whole) < 0.5):.0%}  volume x "
            f"{np.median([r.volume_ratio for r in results]):.2f}"
        )


def evaluate(propagate: Propagator, seed: int) -> list[TrackResult]:
    """Follow the objects of one phantom from a slice of its middle third, and compare them with the truth."""
    rng = np.random.default_rng(seed)
    kind, shape = list(KINDS)[seed % len(KINDS)], SHAPES[seed % len(SHAPES)]
    phantom = KINDS[kind](shape, rng)
    keyframe = int(rng.integers(shape[0] // 3, 2 * shape[0] // 3))
    objects = seen_on(phantom, keyframe)[:MOST]
    if not objects:
        return []
    window = IntensityWindow.of_percentiles(phantom.image[None], [(0.5, 99.5)])
    seeds = Seeds(keyframe, np.stack([mask[keyframe] for mask in objects]))
    tracks = propagate(lambda frame: window(phantom.image[None, frame]), shape[0], [seeds])[0]
    volumes = [np.stack([track.mask(frame, shape[1:]) for frame in range(shape[0])]) for track in tracks]
    return [
        TrackResult(seed, kind, *compare(volume, mask, keyframe)) for volume, mask in zip(volumes, objects, strict=True)
    ]


def seen_on(phantom: Phantom, keyframe: int) -> list[np.ndarray]:
    """Of every object that is large enough on a slice, the 3D piece that holds its largest 2D piece there."""
    found = []
    for mask in phantom.objects:
        flat, pieces = ndimage.label(mask[keyframe])
        if not pieces or np.bincount(flat.ravel())[1:].max() < LEAST:
            continue
        solid, _ = ndimage.label(mask, np.ones((3, 3, 3)))
        largest = flat == np.bincount(flat.ravel())[1:].argmax() + 1
        found.append(solid == solid[keyframe][largest][0])
    return found


def compare(track: np.ndarray, mask: np.ndarray, keyframe: int) -> tuple[float, float | None, float]:
    """Dice over all slices, mean Dice on the slices 20 from the keyframe, and the ratio of volumes."""
    away = [z for z in (keyframe - FAR, keyframe + FAR) if 0 <= z < len(mask) and (mask[z].any() or track[z].any())]
    far = float(np.mean([dice(track[z], mask[z]) for z in away])) if away else None
    return dice(track, mask), far, float(track.sum() / mask.sum())


if __name__ == "__main__":
    main()
