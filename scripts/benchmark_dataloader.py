"""The prompt dataloader against nnU-Net's own, and what the simulated user costs in a training step.

    python scripts/benchmark_dataloader.py --folder /tmp/benchmark --json dataloader.json

Both loaders are those that their trainers make, with nnU-Net's training augmentation and one patch size. They read one
dataset of phantoms, which nnU-Net's command preprocessed. True objects are stored as supervoxels. The loaders run in
turns, each alone, in worker processes as the trainer starts them. Augmentation is random, and so is its cost. So the
ratio scatters.
"""

from __future__ import annotations

import json
import os
from argparse import Namespace
from pathlib import Path
from unittest import mock

import torch
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from benchmarking.clock import Clock
from benchmarking.nnunet import add_configuration
from benchmarking.report import compared, make_parser, report
from nnunetv2.run.run_training import get_trainer_from_args
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from phantom_dataset import preprocess_phantoms, store_true_objects

from nnunetv2_supervoxel.files.supervoxel_files import supervoxel_folder
from nnunetv2_supervoxel.training.objectives import prompting
from nnunetv2_supervoxel.training.rounds import InteractionRounds

DATASET = "Dataset987_Phantoms"
SHAPE = (48, 96, 112)
STEP_PATCH = (16, 24, 32)  # of the tests' network
GOAL = 0.9
STEP_GOAL = 0.1


def main() -> None:
    arguments = _parse()
    folder = arguments.folder.resolve()
    preprocessed = preprocess_phantoms(folder, DATASET, SHAPE, arguments.cases)
    supervoxels = supervoxel_folder(preprocessed, "nnUNetPlans_3d_fullres")
    store_true_objects(supervoxels, SHAPE, range(arguments.cases), arguments.patch)
    plans = preprocessed / "nnUNetPlans.json"
    for name, patch in (("3d_loading", arguments.patch), ("3d_step", STEP_PATCH)):  # with the tests' network
        add_configuration(plans, name, patch, features=(8, 16, 16), convolutions=1, first_kernel=(3, 3, 3))
    settings_file = folder / "prompt_training.yaml"
    settings_file.write_text(json.dumps({"min_target_voxels": arguments.min_target_voxels}))  # JSON is YAML
    os.environ |= {"nnUNet_n_proc_DA": "0", "nnUNet_compile": "f"}
    os.environ["nnUNet_supervoxel_training_config"] = str(settings_file)

    names = {"usual": "nnUNetTrainer", "ours": "SupervoxelPromptTrainer"}
    loaders = {key: _trainer(name, "3d_loading").get_dataloaders()[0].data_loader for key, name in names.items()}
    agreement = compare_batches(*(next(loader) for loader in loaders.values()))
    rows = [measure_reading(loaders, arguments.batches, agreement)]
    rows += [measure_workers(loaders, workers, arguments, agreement) for workers in arguments.workers]
    rows.append(measure_step(arguments.steps))
    print()
    settings = {name: value for name, value in vars(arguments).items() if name not in ("folder", "json")}
    report(rows, {"shape": SHAPE} | settings, arguments.json)


def measure_workers(loaders: dict, workers: int, arguments: Namespace, agreement: str) -> dict:
    """Patches per second with augmentation, out of worker processes."""
    clock = Clock()
    for _ in range(arguments.rounds):
        for name, loader in loaders.items():
            running = NonDetMultiThreadedAugmenter(
                loader, None, workers, num_cached=max(3, workers // 2), wait_time=0.002
            )
            for _ in range(2 * workers):
                next(running)
            with clock(name):
                for _ in range(arguments.batches):
                    next(running)
            running._finish()
    usual, ours = _patches_per_second(clock, loaders, arguments.rounds * arguments.batches)
    what = f"patches per second, {workers} worker(s)"
    return compared(what, usual, ours, ours / usual, agreement, f">= {GOAL}", ours / usual >= GOAL)


def measure_reading(loaders: dict, batches: int, agreement: str) -> dict:
    """Patches per second without augmentation, in this process: what the loader itself costs."""
    clock = Clock()
    for name, loader in loaders.items():
        with mock.patch.object(loader, "transforms", None):
            next(loader)
            with clock(name):
                for _ in range(batches):
                    next(loader)
    usual, ours = _patches_per_second(clock, loaders, batches)
    return compared("patches per second, no augmentation", usual, ours, ours / usual, agreement)


def _patches_per_second(clock: Clock, loaders: dict, batches: int) -> tuple[float, float]:
    usual, ours = (batches * loader.batch_size / clock.total(name) for name, loader in loaders.items())
    return usual, ours


def compare_batches(usual: dict, ours: dict) -> str:
    """Whether the two loaders' batches have the same form.

    Raises:
        SystemExit: they don't.
    """
    forms = [[(tuple(t.shape), t.dtype) for t in (batch["data"], *batch["target"])] for batch in (usual, ours)]
    if forms[0] != forms[1]:
        raise SystemExit(f"the two loaders' batches differ: {forms[0]} and {forms[1]}")
    return "same shapes and types"


def measure_step(steps: int) -> dict:
    """The simulated user's share of a training step's time, with the tests' network on the CPU."""
    clock = Clock()

    class TimedRounds(InteractionRounds):
        """Counts the time spent in everything but the network."""

        def __init__(self, *arguments: object) -> None:
            with clock("user"):
                super().__init__(*arguments)

        def prompt(self, *arguments: object) -> None:
            with clock("user"):
                super().prompt(*arguments)

        def observe(self, *arguments: object) -> None:
            with clock("user"):
                super().observe(*arguments)

    trainer = _trainer("SupervoxelPromptTrainer", "3d_step")
    loader = trainer.get_dataloaders()[0]
    batches = [next(loader) for _ in range(steps + 3)]
    trainer.network.train()
    with mock.patch.object(prompting, "InteractionRounds", TimedRounds):
        for batch in batches[:3]:
            trainer.train_step(batch)
        clock.restart()
        with clock("all"):
            for batch in batches[3:]:
                trainer.train_step(batch)
    share = clock.total("user") / clock.total("all")
    agreement = f"{1000 * clock.total('user') / steps:.3g} ms a step of {len(batches[0]['data'])} patches"
    what = "simulated user's share of a step"
    return compared(what, None, None, share, agreement, f"<= {STEP_GOAL}", share <= STEP_GOAL)


def _trainer(name: str, configuration: str) -> nnUNetTrainer:
    trainer = get_trainer_from_args(DATASET, configuration, "all", name, device=torch.device("cpu"))
    trainer.initialize()
    return trainer


def _parse() -> Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="for the dataset; made once, used again")
    parser.add_argument("--cases", type=int, default=12, help="phantoms (default: %(default)s)")
    parser.add_argument("--patch", type=int, nargs=3, default=[32, 64, 64], help="z y x (default: 32 64 64)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="worker processes (default: 1 2)")
    parser.add_argument("--rounds", type=int, default=4, help="turns of each loader (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=60, help="of 2 patches, in a turn (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="training steps (default: %(default)s)")
    parser.add_argument("--min_target_voxels", type=int, default=50, help="as in the training config (default: 50)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
