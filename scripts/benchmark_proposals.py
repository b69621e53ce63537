"""SAM's automatic mask generator on one slice: the official one and ours, with the same points and thresholds.

The table says where each spends its time: encoder, decoder, upsampling, everything else. The last line says whether the
masks are the same.

    python scripts/benchmark_proposals.py                                                  # tiny checkpoints
    python scripts/benchmark_proposals.py --config configs/config.yaml --device cuda       # the checkpoint named there
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from unittest import mock

import numpy as np
from benchmarking.clock import Clock
from benchmarking.report import make_parser, report
from segment_anything import SamAutomaticMaskGenerator

from nnunetv2_supervoxel import GenerationConfig, load_config
from nnunetv2_supervoxel.checkpoints.loading import load_sam
from nnunetv2_supervoxel.config import find_config
from nnunetv2_supervoxel.generation.intensity import IntensityWindow
from nnunetv2_supervoxel.generation.sam import proposals
from nnunetv2_supervoxel.generation.sam.proposals import Proposal, Proposer, _MaskGenerator
from nnunetv2_supervoxel.phantoms import make_phantom


def main() -> None:
    arguments = _parse()
    config = load_config(find_config(arguments.config), GenerationConfig)
    model = load_sam(config.sam1_checkpoint, arguments.device).model
    volume = make_phantom((24, *arguments.size), np.random.default_rng(arguments.seed)).image[None]
    image = IntensityWindow.of_percentiles(volume, config.intensity_percentiles)(volume[:, 12])

    ours, of_ours = time_proposals(Proposer(model, config), image)
    model = load_sam(config.sam1_checkpoint, arguments.device).model  # one that isn't changed
    with (
        mock.patch.object(_MaskGenerator, "_process_batch", SamAutomaticMaskGenerator._process_batch),
        mock.patch.object(proposals, "with_fast_attention"),
    ):
        usual, of_usual = time_proposals(Proposer(model, config), image)
    rows = [
        {"part": part, "usual s": usual[part], "ours s": ours[part], "times faster": usual[part] / ours[part]}
        for part in usual
    ]
    same = sum(np.array_equal(one.mask, other.mask) for one, other in zip(of_usual, of_ours, strict=False))
    settings = {"config": config.model_dump(mode="json"), "device": arguments.device, "size": arguments.size}
    report(rows, settings | {"found": [len(of_usual), len(of_ours)], "same": same}, arguments.json)
    print(f"\n{len(of_usual)} proposals and {len(of_ours)}, {same} of them the same")


def time_proposals(propose: Proposer, image: np.ndarray) -> tuple[dict[str, float], list[Proposal]]:
    """Seconds by part, and the proposals."""
    predictor = propose._generator.predictor
    model = predictor.model
    clock = Clock(model.device)
    parts = {
        "image encoder": [(predictor, "set_image")],
        "prompt encoder and mask decoder": [(model.prompt_encoder, "forward"), (model.mask_decoder, "forward")],
        "upsampling of masks": [(model, "postprocess_masks")],
    }
    with ExitStack() as patches:
        for part, methods in parts.items():
            for owner, name in methods:
                patches.enter_context(mock.patch.object(owner, name, _timed(getattr(owner, name), clock, part)))
        propose(image)  # warm
        clock.restart()
        with clock("all"):
            found = propose(image)
    seconds = {part: clock.total(part) for part in parts}
    rest = clock.total("all") - sum(seconds.values())
    return seconds | {"filtering, run-length coding, suppression": rest, "all": clock.total("all")}, found


def _timed(method: Callable, clock: Clock, stage: str) -> Callable:
    """The method, with its time counted for a stage."""

    def timed(*arguments: object, **named: object) -> object:
        with clock(stage):
            return method(*arguments, **named)

    return timed


def _parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--config", default="tiny", help="as for nnUNetv2_supervoxel_generate")
    parser.add_argument("--size", type=int, nargs=2, default=[256, 320], metavar=("Y", "X"), help="pixels of the slice")
    parser.add_argument("--seed", type=int, default=4, help="of the phantom")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
