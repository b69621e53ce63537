"""How far propagation is from what the machine can do.

It counts the floating-point operations of SAM 2's parts (torch.utils.flop_counter). It measures the machine's rate in a
plain matrix product. Then it compares the time that the operations would take at that rate with the time that they
took: with our propagation, and with the official predictor that gets all objects in one state. No track ends here, so
that the work is known.

    python scripts/benchmark_limit.py
    python scripts/benchmark_limit.py --device cuda --checkpoint large    # random weights where there is no file
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from unittest import mock

import numpy as np
import torch
from benchmarking.clock import Clock
from benchmarking.limits import disc, matrix_rate
from benchmarking.official import load_or_make_sam2, resized, track_together
from benchmarking.report import make_parser, report
from sam2.modeling.sam2_base import SAM2Base
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from nnunetv2_supervoxel.generation.sam import propagation
from nnunetv2_supervoxel.generation.sam.propagation import Propagator, Seeds

# Part: class of the module that the counter finds it under.
PER_FRAME = {"image encoder": "ImageEncoder"}
PER_OBJECT = {
    "memory attention": "ObjectMemoryAttention",
    "mask decoder": "ObjectMaskDecoder",
    "memory encoder": "ObjectMemoryEncoder",
}


def main() -> None:
    arguments = _parse()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    model = load_or_make_sam2(arguments.checkpoint, arguments.device)
    operations = _operations(model, arguments)
    rows = [
        {"part": part, "GFLOP": count / 1e9, "per": "frame" if part in PER_FRAME else "frame and object"}
        for part, count in operations.items()
    ]
    report(rows, {}, None)

    rate = matrix_rate(model.device, Propagator(model)._bfloat16)
    total = arguments.frames * (
        operations["image encoder"] + arguments.objects * sum(operations[p] for p in PER_OBJECT)
    )
    predictor = load_or_make_sam2(arguments.checkpoint, arguments.device, SAM2VideoPredictor)
    runs = []
    for label, run in (("ours", partial(_propagate, model)), ("official", partial(_propagate_officially, predictor))):
        seconds = _seconds(run, arguments, model.device)
        runs.append(
            {
                "propagation": label,
                "s": seconds,
                "ms per frame and object": 1e3 * seconds / arguments.frames / arguments.objects,
                "s at matrix rate": total / rate,
                "share of the limit": total / rate / seconds,
            }
        )
    print(f"\nMatrix product: {rate / 1e9:.0f} GFLOP/s; {arguments.objects} objects, {arguments.frames} frames\n")
    names = ("objects", "frames", "size", "checkpoint", "device")
    settings = {name: getattr(arguments, name) for name in names}
    settings |= {"threads": torch.get_num_threads(), "matrix_rate": rate, "operations": operations}
    report(runs, settings, arguments.json)
    print(f"\nOurs is {runs[1]['s'] / runs[0]['s']:.1f} times faster.")


def _operations(model: SAM2Base, arguments: argparse.Namespace) -> dict[str, float]:
    """Operations of every part: per frame of the image encoder, per frame and object of the others.

    Raises:
        SystemExit: a part was not found by the name of its class.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the counter sees its own thread only
    attention = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_operations}
    with FlopCounterMode(depth=1, display=False, custom_mapping=attention) as counter:
        _propagate(model, arguments, objects=1)
    torch.set_num_threads(threads)
    found = {name: sum(by_operator.values()) for name, by_operator in counter.get_flop_counts().items()}
    parts = PER_FRAME | PER_OBJECT
    if missing := [name for name in parts.values() if not found.get(name)]:
        raise SystemExit(f"No operations were counted for {', '.join(missing)}; was a class renamed?")
    return {part: found[name] / arguments.frames for part, name in parts.items()}


def _attention_operations(query: tuple, key: tuple, value: tuple, *_: object, **__: object) -> int:
    """Operations of the attention that PyTorch has on CPUs, from shapes. The counter doesn't know it."""
    return sdpa_flop_count(query, key, value)


def _seconds(run: Callable[..., None], arguments: argparse.Namespace, device: torch.device) -> float:
    run(arguments, arguments.objects, frames=3)  # warm
    clock = Clock(device)
    with clock("propagation"):
        run(arguments, arguments.objects)
    return clock.total("propagation")


def _propagate(model: SAM2Base, arguments: argparse.Namespace, objects: int, frames: int | None = None) -> None:
    """Track discs over a fixed number of slices, from the middle one."""
    frames = frames or arguments.frames
    image, inside = disc(arguments.size)
    with mock.patch.object(propagation, "touching", lambda _, after: np.ones(len(after), bool)):
        Propagator(model, objects)(
            lambda _: image[None], frames, [Seeds(frames // 2, np.repeat(inside[None], objects, 0))]
        )


def _propagate_officially(
    predictor: SAM2VideoPredictor, arguments: argparse.Namespace, objects: int, frames: int | None = None
) -> None:
    """The same with the official predictor."""
    frames = frames or arguments.frames
    image, inside = disc(arguments.size)
    volume = resized(np.repeat(image[None], frames, 0), predictor.image_size)
    seeds, result = np.repeat(inside[None], objects, 0), np.zeros((objects, frames, *inside.shape), bool)
    bfloat16 = predictor.device.type == "cuda"  # as ours
    with torch.autocast(predictor.device.type, torch.bfloat16, enabled=bfloat16):
        track_together(predictor, volume, seeds, frames // 2, result)
        track_together(predictor, volume.flip(0), seeds, frames - 1 - frames // 2, result[:, ::-1])


def _parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--objects", type=int, default=20)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--size", type=int, nargs=2, default=[256, 320], metavar=("Y", "X"), help="pixels of a slice")
    parser.add_argument("--checkpoint", default="bundled", help="SAM 2.1: registry name or path")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="of PyTorch; default: its own")
    return parser.parse_args()


if __name__ == "__main__":
    main()
