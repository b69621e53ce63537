"""Where SAM's automatic mask generator spends its time on one slice: encoder, decoder, upsampling, everything else.

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

from nnunetv2_supervoxel import GenerationConfig, load_config
from nnunetv2_supervoxel.checkpoints import load_sam
from nnunetv2_supervoxel.generation.intensity import IntensityWindow, to_uint8_rgb
from nnunetv2_supervoxel.generation.proposals import Proposer
from nnunetv2_supervoxel.phantoms import make_phantom
from nnunetv2_supervoxel.shipped import find_config


def main() -> None:
    arguments = _parse()
    config = load_config(find_config(arguments.config), GenerationConfig)
    model = load_sam(config.sam1_checkpoint, arguments.device).model
    propose = Proposer(model, config)
    volume = make_phantom((24, *arguments.size), np.random.default_rng(arguments.seed)).image[None]
    image = to_uint8_rgb(IntensityWindow.of(volume, config.intensity_percentiles)(volume[:, 12]))

    predictor, seconds = propose._generator.predictor, Counter()
    with (
        _timing(predictor, "set_image", seconds, model.device),
        _timing(predictor, "predict_torch", seconds, model.device),
        _timing(model, "postprocess_masks", seconds, model.device),
    ):
        propose(image)  # warm
        seconds.clear()
        start = time.perf_counter()
        proposals = propose(image)
        total = time.perf_counter() - start
    parts = {
        "image encoder": seconds["set_image"],
        "prompt encoder and mask decoder": seconds["predict_torch"] - seconds["postprocess_masks"],
        "upsampling of masks": seconds["postprocess_masks"],
        "filtering, run-length coding, suppression": total - seconds["set_image"] - seconds["predict_torch"],
    }
    rows = [{"part": part, "s": spent, "share": spent / total} for part, spent in parts.items()]
    settings = {"config": config.model_dump(mode="json"), "device": arguments.device, "size": arguments.size}
    benchmarking.report(rows, settings | {"proposals": len(proposals), "seconds": total}, arguments.json)
    print(f"\n{len(proposals)} proposals in {total:.2f} s")


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
