"""SAM's automatic mask generator on one slice, the official one and ours, with the same points and thresholds: where
each spends its time (encoder, decoder, upsampling, everything else), and whether the masks are the same.

python scripts/benchmark_proposals.py                                                  # tiny checkpoints
python scripts/benchmark_proposals.py --config configs/config.yaml --device cuda       # the checkpoint named there
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from unittest import mock

import benchmarking
import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator

from nnunetv2_supervoxel import GenerationConfig, load_config
from nnunetv2_supervoxel.checkpoints import load_sam
from nnunetv2_supervoxel.config import find_config
from nnunetv2_supervoxel.generation.intensity import IntensityWindow, to_uint8_rgb
from nnunetv2_supervoxel.generation.sam.proposals import Proposal, Proposer, _MaskGenerator
from nnunetv2_supervoxel.phantoms import make_phantom


def main() -> None:
    arguments = _parse()
    config = load_config(find_config(arguments.config), GenerationConfig)
    model = load_sam(config.sam1_checkpoint, arguments.device).model
    volume = make_phantom((24, *arguments.size), np.random.default_rng(arguments.seed)).image[None]
    image = to_uint8_rgb(IntensityWindow.of(volume, config.intensity_percentiles)(volume[:, 12]))

    ours, of_ours = _run(Proposer(model, config), image)
    with mock.patch.object(_MaskGenerator, "_process_batch", SamAutomaticMaskGenerator._process_batch):
        usual, of_usual = _run(Proposer(model, config), image)
    rows = [
        {"part": part, "usual s": usual[part], "ours s": ours[part], "times faster": usual[part] / ours[part]}
        for part in usual
    ]
    same = sum(np.array_equal(one.mask, other.mask) for one, other in zip(of_usual, of_ours, strict=False))
    settings = {"config": config.model_dump(mode="json"), "device": arguments.device, "size": arguments.size}
    benchmarking.report(rows, settings | {"proposals": [len(of_usual), len(of_ours)], "same": same}, arguments.json)
    print(f"\n{len(of_usual)} proposals and {len(of_ours)}, {same} of them the same")


def _run(propose: Proposer, image: np.ndarray) -> tuple[dict[str, float], list[Proposal]]:
    """Seconds by part, and the proposals."""
    predictor, seconds = propose._generator.predictor, Counter()
    model = predictor.model
    with (
        _timing(predictor, "set_image", seconds, model.device),
        _timing(model.prompt_encoder, "forward", seconds, model.device),
        _timing(model.mask_decoder, "forward", seconds, model.device),
        _timing(model, "postprocess_masks", seconds, model.device),
    ):
        propose(image)  # warm
        seconds.clear()
        start = time.perf_counter()
        proposals = propose(image)
        total = time.perf_counter() - start
    parts = {
        "image encoder": seconds["set_image"],
        "prompt encoder and mask decoder": seconds["forward"],
        "upsampling of masks": seconds["postprocess_masks"],
        "filtering, run-length coding, suppression": total - sum(seconds.values()),
        "all": total,
    }
    return parts, proposals


def _timing(owner: object, name: str, seconds: Counter, device: torch.device) -> mock._patch:
    """Patch a method with itself, its time added up in `seconds`."""
    method: Callable = getattr(owner, name)

    def timed(*arguments: object, **named: object) -> object:
        start = time.perf_counter()
        result = method(*arguments, **named)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds[name] += time.perf_counter() - start
        return result

    return mock.patch.object(owner, name, timed)


def _parse() -> argparse.Namespace:
    parser = benchmarking.parser(__doc__)
    parser.add_argument("--config", default="tiny", help="as for nnUNetv2_supervoxel_generate")
    parser.add_argument("--size", type=int, nargs=2, default=[256, 320], metavar=("Y", "X"), help="pixels of the slice")
    parser.add_argument("--seed", type=int, default=4, help="of the phantom")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
