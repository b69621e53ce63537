"""Measure the tiny checkpoints through the real generator: on phantoms never trained on, and on the demo's brains."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from nnunetv2_supervoxel import GenerationConfig, SupervoxelGenerator, SupervoxelSet, load_config
from nnunetv2_supervoxel.config import find_config
from nnunetv2_supervoxel.generation.sam.keyframes import draw_keyframes
from nnunetv2_supervoxel.phantoms import Phantom, make_phantom
from nnunetv2_supervoxel.randomness import case_generator

sys.path.append(str(Path(__file__).parents[1]))
import demo_dataset

SHAPES = ((40, 96, 112), (48, 80, 128), (56, 112, 88))
HELD_OUT = 900_000  # first seed; train.py draws its own from 0 up, validation from 800,000
LARGE = 150  # pixels; an object with more of them on the keyframe slice should be found
LONG = 5  # slices


@dataclass(frozen=True)
class PhantomResult:
    """What was found in one phantom.

    Attributes:
        shape: of the phantom.
        keyframe: slice on which SAM was asked.
        ious: per supervoxel, the best 3D IoU with a true object.
        keyframe_ious: per supervoxel, the best 2D IoU with a true object on the keyframe. This is what SAM alone does.
        found: of the large true objects, how many have a supervoxel of 3D IoU 0.5 or better.
        large: number of true objects with more than 150 pixels on the keyframe.
    """

    shape: tuple[int, int, int]
    keyframe: int
    ious: list[float]
    keyframe_ious: list[float]
    found: int
    large: int


def main() -> None:
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    generator, brain_generator = (
        SupervoxelGenerator(load_config(find_config(name), GenerationConfig), "cpu")
        for name in (arguments.config, arguments.brain_config)
    )
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.phantoms)
    phantoms = [evaluate_phantom(generator, seed) for seed in tqdm(seeds, desc="phantoms", disable=None)]
    brains = [
        evaluate_brain(brain_generator, case) for case in tqdm(range(arguments.brains), desc="MNI152", disable=None)
    ]

    for seed, result in zip(seeds, phantoms, strict=True):
        print(
            f"phantom {seed}  shape {'x'.join(map(str, result.shape)):>11}  keyframe {result.keyframe:2d}  "
            f"supervoxels {len(result.ious):2d}  IoU {_mean(result.ious):.3f}  on keyframe "
            f"{_mean(result.keyframe_ious):.3f}  large objects found {result.found}/{result.large}"
        )
    for case, spans in enumerate(brains):
        print(
            f"MNI152 {case}  supervoxels {len(spans):2d}  of {LONG} slices or more {sum(s >= LONG for s in spans):2d}"
        )
    summary = summarise(phantoms, brains)
    print(*(f"{name}: {value:.3f}" for name, value in summary.items()), sep="\n")
    if arguments.json:
        made_by = {"config": generator.provenance, "brain_config": brain_generator.provenance}
        report = {**made_by, "summary": summary, "phantoms": [asdict(r) for r in phantoms]}
        arguments.json.write_text(json.dumps({**report, "first_seed": seeds.start, "brain_spans": brains}, indent=1))


def evaluate_phantom(generator: SupervoxelGenerator, seed: int) -> PhantomResult:
    """Generate supervoxels of one phantom and compare them with the objects that are known to be there."""
    shape = SHAPES[seed % len(SHAPES)]
    phantom = make_phantom(shape, np.random.default_rng(seed))
    found = generator(phantom.image, name=f"phantom_{seed}")
    return compare(phantom, found, _keyframe(generator.config, found, f"phantom_{seed}"))


def compare(phantom: Phantom, found: SupervoxelSet, keyframe: int) -> PhantomResult:
    """Compare every supervoxel with its best true object, and every large true object with its best supervoxel."""
    masks = found.to_array().astype(bool)
    objects = np.stack([known for known in phantom.objects if known.any()])
    volume = iou_table(masks, objects)
    large = np.count_nonzero(objects[:, keyframe], axis=(1, 2)) > LARGE
    return PhantomResult(
        shape=phantom.labels.shape,
        keyframe=keyframe,
        ious=volume.max(axis=1).tolist(),
        keyframe_ious=iou_table(masks[:, keyframe], objects[:, keyframe]).max(axis=1).tolist(),
        found=int(np.count_nonzero(volume[:, large].max(axis=0, initial=0) >= 0.5)),
        large=int(np.count_nonzero(large)),
    )


def iou_table(masks: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Intersection over union of boolean masks (n, ...) with objects (m, ...): float (n, m)."""
    a, b = (s.reshape(len(s), math.prod(s.shape[1:])).astype(np.float32) for s in (masks, objects))
    overlap = a @ b.T
    union = a.sum(axis=1)[:, None] + b.sum(axis=1) - overlap
    return overlap / np.maximum(union, 1)


def evaluate_brain(generator: SupervoxelGenerator, case: int) -> list[int]:
    """How many slices each supervoxel of a case of the demo's dataset (bent, cropped MNI152 templates) spans."""
    image, _, _ = demo_dataset.vary(*demo_dataset.template(), np.random.default_rng([0, case]))
    found = generator(np.ascontiguousarray(image.T), spacing=(2.0, 2.0, 2.0), name=f"brain_{case:02d}")
    return [supervoxel.shape[supervoxel.axis] for supervoxel in found.supervoxels]


def summarise(phantoms: list[PhantomResult], brains: list[list[int]]) -> dict[str, float]:
    """The figures that the checkpoints are judged by; IoUs are means over all supervoxels of all phantoms."""
    long = [sum(span >= LONG for span in spans) for spans in brains]
    return {
        "phantoms": len(phantoms),
        "supervoxels": sum(len(result.ious) for result in phantoms),
        "phantoms without supervoxels": sum(not result.ious for result in phantoms),
        "mean IoU": _mean([iou for result in phantoms for iou in result.ious]),
        "mean IoU on the keyframe": _mean([iou for result in phantoms for iou in result.keyframe_ious]),
        "share of large objects found": sum(r.found for r in phantoms) / max(1, sum(r.large for r in phantoms)),
        "MNI152 long supervoxels, mean": _mean(long),
        "MNI152 long supervoxels, fewest": min(long, default=0),
    }


def _keyframe(config: GenerationConfig, found: SupervoxelSet, name: str) -> int:
    """The slice where SAM was asked. If there are no supervoxels, it is drawn again: the slice that was tried first."""
    if len(found):
        return found.supervoxels[0].keyframe
    drawn = draw_keyframes(
        found.shape[config.axis[0]], config.max_keyframes, case_generator(config.seed, name, "keyframe")
    )
    return drawn[0]


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="tiny", help="for phantoms: file or template (default: %(default)s)")
    parser.add_argument("--brain-config", default="tiny_brain", help="for brains, likewise (default: %(default)s)")
    parser.add_argument("--phantoms", type=int, default=24, help="number of phantoms (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=HELD_OUT, help="of the phantoms (default: %(default)s)")
    parser.add_argument("--brains", type=int, default=6, help="number of the demo's cases (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
