"""The parts of benchmark_gpu.py. Each gives rows of figures, one after the other."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
import torch
from benchmark_propagation import make_case
from benchmark_proposals import time_proposals
from phantom_dataset import preprocess_phantoms
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch.utils.flop_counter import FlopCounterMode

from benchmarking.clock import Clock
from benchmarking.limits import disc, matrix_rate
from benchmarking.nnunet import add_configuration, command
from benchmarking.official import load_or_make_sam2, resized, track_together
from nnunetv2_supervoxel import GenerationConfig, load_config
from nnunetv2_supervoxel.checkpoints.architectures import SAM_ARCHITECTURES, build_sam
from nnunetv2_supervoxel.checkpoints.loading import load_sam, load_sam2
from nnunetv2_supervoxel.config import find_config
from nnunetv2_supervoxel.generation.sam import propagation
from nnunetv2_supervoxel.generation.sam.encoding import SliceEncoder
from nnunetv2_supervoxel.generation.sam.propagation import Propagator, Seeds
from nnunetv2_supervoxel.generation.sam.proposals import Proposer

Rows = Iterator[dict]


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        device: on which.
        quick: tiny models and few objects, to see that the script works.
    """

    device: torch.device
    quick: bool


def _row(
    measured: str,
    ours: float | str | None,
    other: float | str | None = None,
    ratio: float | None = None,
    goal: str | None = None,
    ok: bool | None = None,
) -> dict:
    """A figure: ours, what it is compared with, and whether the goal is reached (None: there is none)."""
    reached = None if ok is None else "yes" if ok else "NO"
    return {"measured": measured, "ours": ours, "other": other, "ratio": ratio, "goal": goal, "ok": reached}


def masks(settings: Settings) -> Rows:
    """Tracks of the tiny checkpoints on the device against those on the CPU."""
    torch.backends.cudnn.allow_tf32 = False  # in float32, as on a CPU
    objects = 4 if settings.quick else 20
    volume, seeds, keyframe = make_case(24, (128, 160), objects, seed=4)
    expected = _tracked(load_sam2("bundled", "cpu").model, volume, seeds, keyframe, "float32")
    for precision, goal in (("float32", 0.999), ("bfloat16", None)):
        found = _tracked(load_sam2("bundled", settings.device).model, volume, seeds, keyframe, precision)
        dice = min(_dice(*both) for both in zip(found, expected, strict=True))
        yield _row(
            f"least Dice of {objects} objects with the CPU's, {precision}",
            dice,
            goal=goal and f">= {goal}",
            ok=None if goal is None else dice >= goal,
        )


def propagation_speed(settings: Settings) -> Rows:
    """Time per slice and object, our way and the official predictor's; the image encoder's share of the matrix rate."""
    checkpoint, size = ("bundled", (96, 112)) if settings.quick else ("large", (512, 512))
    device, frames = settings.device, 6 if settings.quick else 16
    model = load_or_make_sam2(checkpoint, device)
    yield from _image_encoder(model, settings)
    predictor = load_or_make_sam2(checkpoint, device, SAM2VideoPredictor)
    image, inside = disc(size)
    volume = resized(np.repeat(image[None], frames, 0), model.image_size)
    for objects in (1, 3) if settings.quick else (1, 5, 20, 60):
        seeds = np.repeat(inside[None], objects, 0)
        result = np.zeros((objects, frames, *size), bool)

        def ours(seeds: np.ndarray = seeds) -> None:
            with mock.patch.object(propagation, "touching", lambda _, after: np.ones(len(after), bool)):
                Propagator(model, 60)(lambda _: image[None], frames, [Seeds(0, seeds)])

        def official(seeds: np.ndarray = seeds, result: np.ndarray = result) -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                track_together(predictor, volume, seeds, 0, result)

        seconds = {}
        for name, run in (("ours", ours), ("official", official)):
            if name == "ours" or objects <= 5:  # warm
                run()
            _restart_peak(device)
            clock = Clock(device)
            with clock("run"):
                run()
            seconds[name] = clock.total("run"), _peak(device)
        of_slice = [1e3 * seconds[name][0] / (frames - 1) / objects for name in ("ours", "official")]
        ratio, goal = of_slice[1] / of_slice[0], objects == 20
        yield _row(
            f"propagation, {objects} objects, ms per slice and object",
            *of_slice,
            ratio,
            ">= 10" if goal else None,
            ratio >= 10 if goal else None,
        )
        if device.type == "cuda":
            peaks = (seconds[name][1] for name in ("ours", "official"))
            yield _row(f"propagation, {objects} objects, MB on the device", *peaks)


def _image_encoder(model: torch.nn.Module, settings: Settings) -> Rows:
    device, half = settings.device, settings.device.type == "cuda"
    rate = matrix_rate(device, half)
    yield _row(f"matrix product in {'bfloat16' if half else 'float32'}, TFLOP/s", rate / 1e12)
    images = [np.zeros((1, 512, 512), np.float32)] * propagation.FRAMES_AT_ONCE
    encode = SliceEncoder(model)

    def run() -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            encode(images)

    with FlopCounterMode(display=False) as counter:
        run()
    for name in ("as it is", "compiled"):
        if name == "compiled":
            if settings.quick:
                return
            model.image_encoder.forward = torch.compile(model.image_encoder.forward, dynamic=False)
        try:
            run()
            clock = Clock(device)
            for _ in range(5):
                with clock("encoding"):
                    run()
        except Exception as error:  # no compiler, no Triton: that is the result
            yield _row(f"image encoder {name}: {type(error).__name__}", None)
            return
        finally:
            if name == "compiled":
                del model.image_encoder.forward
        share = counter.get_total_flops() / clock.median("encoding") / rate
        yield _row(f"image encoder {name}, ms per slice", 1e3 * clock.median("encoding") / len(images))
        goal = name == "as it is" and half
        yield _row(
            f"image encoder {name}, share of the matrix rate", share, goal=">= 0.5" if goal else None,
            ok=share >= 0.5 if goal else None,
        )  # fmt: skip


def proposals(settings: Settings) -> Rows:
    """Time of SAM's proposals on one slice, by stage."""
    config = load_config(find_config("tiny" if settings.quick else "config"), GenerationConfig)
    if settings.quick:
        sam = load_sam("bundled", settings.device).model
    else:
        sam = build_sam(SAM_ARCHITECTURES["vit_h"]).requires_grad_(False).to(settings.device)
        # Random weights estimate the same quality nearly everywhere; the threshold lets some one in twenty pass.
        config = config.model_copy(update={"pred_iou_thresh": _quantile(sam, config), "stability_score_thresh": 0.0})
    image = np.repeat(disc((256, 320) if settings.quick else (512, 512))[0][None].astype(np.float32), 3, 0)
    _restart_peak(settings.device)
    seconds, found = time_proposals(Proposer(sam, config), image)
    for stage, of_stage in seconds.items():
        yield _row(f"proposals on a slice, {stage}, s", of_stage)
    yield _row("proposals on a slice, how many", float(len(found)))
    if settings.device.type == "cuda":
        yield _row("proposals on a slice, MB on the device", _peak(settings.device))


def _quantile(sam: torch.nn.Module, config: GenerationConfig) -> float:
    """The predicted quality that one mask in twenty has."""
    generator = Proposer(sam, config)._generator
    with torch.inference_mode():
        generator.predictor.set_image(np.zeros((512, 512, 3), np.uint8))
        points = np.random.default_rng(0).uniform(0, 512, (256, 2))
        return float(generator._decode(points, (512, 512))[1].quantile(0.95))


def memory(settings: Settings) -> Rows:
    """Tracks where the device's memory runs out, against undisturbed ones."""
    device = settings.device
    if device.type != "cuda":
        yield _row("out of memory: needs a CUDA device", None)
        return
    torch.backends.cudnn.allow_tf32 = False
    volume, seeds, keyframe = make_case(24, (128, 160), 40, seed=4)
    model = load_sam2("bundled", device).model
    expected = _tracked(model, volume, seeds, keyframe, "float32", 40)
    needed, held = torch.cuda.max_memory_reserved(device), torch.cuda.memory_allocated(device)
    total = torch.cuda.get_device_properties(device).total_memory
    for share in (0.7, 0.4, 0.2, 0.1, 0.05):
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction((held + share * (needed - held)) / total, device)
        propagator = Propagator(model, 40, "float32")
        try:
            [tracks] = propagator(lambda frame: volume[frame][None], len(volume), [Seeds(keyframe, seeds)])
        except torch.OutOfMemoryError:
            yield _row(f"with {share:.0%} of the memory: not even one object", None)
            return
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, device)
        box = tuple(slice(0, size) for size in volume.shape)
        dice = min(_dice(track.in_box(box), mask) for track, mask in zip(tracks, expected, strict=True))
        batch = propagator._objects_per_batch
        yield _row(
            f"with {share:.0%} of the memory, {batch} objects at once: least Dice",
            dice,
            None,
            None,
            ">= 0.999",
            dice >= 0.999,
        )


def commands(settings: Settings) -> Rows:
    """The commands, one after the other, on two small cases."""
    with TemporaryDirectory() as folder:
        for name, arguments in _steps(Path(folder), settings.device.type):
            clock = Clock()
            with clock(name):
                done = subprocess.run(command(*arguments), check=False)
            yield _row(f"{name}: exit code", float(done.returncode), goal="0", ok=done.returncode == 0)
            yield _row(f"{name}, s", clock.total(name))
            if done.returncode:
                return


def _steps(folder: Path, device: str) -> Iterator[tuple[str, list[object]]]:
    """What each command is for, and its line."""
    name, trainer, model = "Dataset990_OnDevice", "SupervoxelPromptTrainer_1epoch", folder / "model"
    preprocessed = preprocess_phantoms(folder, name, (24, 56, 64), 2)
    add_configuration(preprocessed / "nnUNetPlans.json", "3d_tiny", (16, 32, 48), (8, 16, 16))
    config = folder / "training.yaml"
    config.write_text("num_iterations_per_epoch: 5\nnum_val_iterations_per_epoch: 1\nmin_target_voxels: 20\n")
    os.environ |= {"nnUNet_supervoxel_training_config": str(config), "nnUNet_compile": "f"}
    yield "generate", ["nnUNetv2_supervoxel_generate", "-d", 990, "-config", "tiny", "-device", device]
    yield "train", ["nnUNetv2_train", 990, "3d_tiny", "all", "-tr", trainer, "-device", device]
    of_model = ["-d", 990, "-c", "3d_tiny", "-tr", trainer]
    yield "export", ["nnUNetv2_supervoxel_export", *of_model, "--format", "nninteractive", "-o", model]
    if find_spec("nnInteractive"):
        images = folder / "nnUNet_raw" / name / "imagesTr"
        case = sorted(images.iterdir())[0].name.split(".")[0]
        prompts = {"space": "voxel", "cases": {case: {"middle": [{"type": "point", "position": [32, 28, 12]}]}}}
        (folder / "prompts.json").write_text(json.dumps(prompts))
        files = ["-i", images, "-o", folder / "masks", "-m", model, "-prompts", folder / "prompts.json"]
        yield "nnInteractive's session", ["nnUNetv2_supervoxel_predict", *files, "-device", device]


PARTS: dict[str, Callable[[Settings], Rows]] = {
    "masks": masks,
    "propagation": propagation_speed,
    "proposals": proposals,
    "memory": memory,
    "commands": commands,
}


def _tracked(
    model: torch.nn.Module, volume: np.ndarray, seeds: np.ndarray, keyframe: int, precision: str, batch: int = 20
) -> np.ndarray:
    """Boolean (objects, z, y, x)."""
    [tracks] = Propagator(model, batch, precision)(
        lambda frame: volume[frame][None], len(volume), [Seeds(keyframe, seeds)]
    )
    return np.stack([track.in_box(tuple(slice(0, size) for size in volume.shape)) for track in tracks])


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / total if total else 1.0


def _restart_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: torch.device) -> float | None:
    """The most memory allocated on a CUDA device since the last restart, in MB."""
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None
