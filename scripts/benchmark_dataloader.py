"""The prompt dataloader against nnU-Net's own, and what the simulated user costs in a training step.

    python scripts/benchmark_dataloader.py --folder /tmp/benchmark --json dataloader.json

Both loaders are those that their trainers make, with nnU-Net's training augmentation and one patch size, on one dataset
of phantoms (preprocessed by nnU-Net's command, true objects stored as supervoxels). They run in turns, each alone, in
worker processes as the trainer starts them. Augmentation is random, and so is its cost: the ratio scatters.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from benchmarking import parser, phantom_dataset, report
from phantom_dataset import store_true_objects
from small_training import add_configuration

from nnunetv2_supervoxel.files.supervoxel_files import supervoxel_folder
from nnunetv2_supervoxel.training import trainer as trainer_module
from nnunetv2_supervoxel.training.rounds import InteractionRounds

DATASET = "Dataset987_Phantoms"
SHAPE = (48, 96, 112)
STEP_PATCH = (16, 24, 32)  # of the tests' network
GOAL = 0.9
STEP_GOAL = 0.1


def main() -> None:
    arguments = _parse()
    folder = arguments.folder.resolve()
    preprocessed = phantom_dataset(folder, DATASET, SHAPE, arguments.cases)
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
    report(
        rows,
        {"shape": SHAPE, **{k: v for k, v in vars(arguments).items() if k not in ("folder", "json")}},
        arguments.json,
    )


def measure_workers(loaders: dict, workers: int, arguments: object, agreement: str) -> dict:
    """Patches per second with augmentation, out of worker processes."""
    seconds = {name: 0.0 for name in loaders}
    for _ in range(arguments.rounds):
        for name, loader in loaders.items():
            running = NonDetMultiThreadedAugmenter(
                loader, None, workers, num_cached=max(3, workers // 2), wait_time=0.002
            )
            for _ in range(2 * workers):
                next(running)
            start = time.perf_counter()
            for _ in range(arguments.batches):
                next(running)
            seconds[name] += time.perf_counter() - start
            running._finish()
    return _row(
        f"patches per second, {workers} worker(s)",
        seconds,
        loaders,
        arguments.rounds * arguments.batches,
        GOAL,
        agreement,
    )


def measure_reading(loaders: dict, batches: int, agreement: str) -> dict:
    """Patches per second without augmentation, in this process: what the loader itself costs."""
    seconds = {name: 0.0 for name in loaders}
    for name, loader in loaders.items():
        with _without_augmentation(loader):
            next(loader)
            start = time.perf_counter()
            for _ in range(batches):
                next(loader)
            seconds[name] = time.perf_counter() - start
    return _row("patches per second, no augmentation", seconds, loaders, batches, None, agreement)


@contextmanager
def _without_augmentation(loader: object) -> Iterator[None]:
    transforms, loader.transforms = loader.transforms, None
    yield
    loader.transforms = transforms


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
    spent = {"user": 0.0}

    class TimedRounds(InteractionRounds):
        """Adds up the time spent in everything but the network."""

        def __init__(self, *arguments: object) -> None:
            with _adding_to(spent):
                super().__init__(*arguments)

        def prompt(self, *arguments: object) -> None:
            with _adding_to(spent):
                super().prompt(*arguments)

        def observe(self, *arguments: object) -> None:
            with _adding_to(spent):
                super().observe(*arguments)

    trainer_module.InteractionRounds = TimedRounds
    trainer = _trainer("SupervoxelPromptTrainer", "3d_step")
    loader = trainer.get_dataloaders()[0]
    batches = [next(loader) for _ in range(steps + 3)]
    trainer.network.train()
    for batch in batches[:3]:
        trainer.train_step(batch)
    spent["user"], start = 0.0, time.perf_counter()
    for batch in batches[3:]:
        trainer.train_step(batch)
    share = spent["user"] / (time.perf_counter() - start)
    return {
        "measured": "simulated user's share of a step",
        "usual": None,
        "ours": None,
        "ratio": share,
        "goal": f"<= {STEP_GOAL}",
        "reached": "yes" if share <= STEP_GOAL else "NO",
        "agreement": f"{1000 * spent['user'] / steps:.3g} ms a step of {len(batches[0]['data'])} patches",
    }


@contextmanager
def _adding_to(spent: dict) -> Iterator[None]:
    start = time.perf_counter()
    yield
    spent["user"] += time.perf_counter() - start


def _trainer(name: str, configuration: str) -> object:
    from nnunetv2.run.run_training import get_trainer_from_args

    number = DATASET[len("Dataset") :].split("_")[0]
    trainer = get_trainer_from_args(number, configuration, "all", name, device=torch.device("cpu"))
    trainer.initialize()
    return trainer


def _row(what: str, seconds: dict, loaders: dict, batches: int, goal: float | None, agreement: str) -> dict:
    usual, ours = (batches * loader.batch_size / seconds[name] for name, loader in loaders.items())
    return {
        "measured": what,
        "usual": usual,
        "ours": ours,
        "ratio": ours / usual,
        "goal": goal and f">= {goal}",
        "reached": goal and ("yes" if ours / usual >= goal else "NO"),
        "agreement": agreement,
    }


def _parse() -> object:
    made = parser(__doc__)
    made.add_argument("--folder", type=Path, required=True, help="for the dataset; made once, used again")
    made.add_argument("--cases", type=int, default=12, help="phantoms (default: %(default)s)")
    made.add_argument("--patch", type=int, nargs=3, default=[32, 64, 64], help="z y x (default: 32 64 64)")
    made.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="worker processes (default: 1 2)")
    made.add_argument("--rounds", type=int, default=4, help="turns of each loader (default: %(default)s)")
    made.add_argument("--batches", type=int, default=60, help="of 2 patches, in a turn (default: %(default)s)")
    made.add_argument("--steps", type=int, default=100, help="training steps (default: %(default)s)")
    made.add_argument("--min_target_voxels", type=int, default=50, help="as in the training config (default: 50)")
    return made.parse_args()


if __name__ == "__main__":
    main()
