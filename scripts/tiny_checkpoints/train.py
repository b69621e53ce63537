"""Train the tiny SAM or SAM 2.1 checkpoint on procedural phantoms, from scratch or on from earlier weights.

The bundled weights come from several runs, each resumed from the one before, all on 800 phantoms. The first runs of
both were at 128 pixels, with earlier forms of this script, on one CPU core. The runs with this form were:

    at 128 pixels, both cut off: SAM 47 minutes (--prompts 12), SAM 2.1 (--frames 7 --longest 20 --lr 4e-4);
    at 192 pixels: SAM 38 minutes (--lr 4e-4 --ema 0.998),
        SAM 2.1 42 minutes (--frames 6 --longest 18 --objects 5 --lr 3e-4 --ema 0.998);
    at 256 pixels: SAM 55 minutes (--lr 4e-4 --ema 0.998), when half of the phantoms were folded, and half of those
        shaded like T1;
    on 600 phantoms of three kinds (--pool 600 --lr 3e-4 --resume bundled): SAM 55 minutes, SAM 2.1 70 minutes
        (--frames 6 --longest 24 --objects 5), beside other work on the same two cores.

On a GPU, let workers draw: --device cuda --workers 12 --minutes 10, for SAM 2.1 also --batch 8 (not tried yet).
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import learning_sam
import learning_sam2
import torch
from pool import load_pool
from training import Samples, Schedule, Weights, fit_to, load, train

from nnunetv2_supervoxel.checkpoints.loading import load_sam, load_sam2, save_checkpoint


def main() -> None:
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    phantoms = load_pool(arguments.cache, arguments.pool)
    if arguments.family == "sam":
        architecture, model = learning_sam.ARCHITECTURE, learning_sam.new_model()
        draw = partial(learning_sam.draw_points, phantoms, prompts=arguments.prompts)
        step = partial(learning_sam.step, model)
    else:
        architecture, model = learning_sam2.ARCHITECTURE, learning_sam2.new_model()
        sampling = learning_sam2.Sampling(arguments.batch, arguments.frames, arguments.longest, arguments.objects)
        draw = partial(learning_sam2.draw_sequences, phantoms, sampling)
        step = partial(learning_sam2.step, model, learning_sam2.Gate(model), sampling)
    # The model stays in evaluation mode. In training mode SAM 2 would not binarise the masks that go into memory.
    model.requires_grad_(True)
    if arguments.resume:
        model.load_state_dict(fit_to(model, _earlier_weights(arguments.family, arguments.resume)))
    model.to(arguments.device)
    samples = load(Samples(draw, arguments.seed), arguments.workers)
    schedule = Schedule(arguments.minutes, arguments.lr, arguments.warm_up, arguments.ema)
    model.load_state_dict(train(model, step, samples, schedule, arguments.output.with_suffix(".pt")))
    save_checkpoint(model.cpu(), architecture, arguments.output)
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.1f} MB")


def _earlier_weights(family: str, name: str) -> Weights:
    """The weights of a backup of this script (.pt), a checkpoint that it made (.safetensors), or "bundled"."""
    if name.endswith(".pt"):
        return torch.load(name, weights_only=True)
    return (load_sam if family == "sam" else load_sam2)(name).model.state_dict()


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and this module's docstring line by line."""


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Formatter)
    parser.add_argument("family", choices=("sam", "sam2"), help="which of the two")
    parser.add_argument("output", type=Path, help=".safetensors to write; a .pt beside it is kept for --resume")
    parser.add_argument("--minutes", type=float, default=120, help="how long; the learning rate falls over this time")
    parser.add_argument("--lr", type=float, default=5e-4, help="highest learning rate")
    parser.add_argument("--warm-up", type=float, default=0.02, help="share of the time in which it rises")
    parser.add_argument("--ema", type=float, default=0.998, help="decay of the averaged weights")
    parser.add_argument("--prompts", type=int, default=8, help="SAM: points per step, all on one slice")
    parser.add_argument("--batch", type=int, default=2, help="SAM 2: sequences per step")
    parser.add_argument("--frames", type=int, default=8, help="SAM 2: frames learned from; start with 4")
    parser.add_argument(
        "--longest",
        type=int,
        default=8,
        help="SAM 2: longest sequence; if longer than --frames, its surplus frames run without gradient",
    )
    parser.add_argument("--objects", type=int, default=6, help="SAM 2: most objects tracked per sequence")
    parser.add_argument("--pool", type=int, default=400, help="number of phantoms")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/nnunetv2_supervoxel_phantoms"), help="where they lie")
    parser.add_argument("--resume", help="go on from an earlier run: a .pt backup, a .safetensors, or bundled")
    parser.add_argument("--seed", type=int, default=0, help="random seed")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw samples; 0: none but this one")
    arguments = parser.parse_args()
    if not 3 <= arguments.frames <= arguments.longest:
        parser.error("--frames must be at least 3, and --longest at least --frames")
    return arguments


if __name__ == "__main__":
    main()
