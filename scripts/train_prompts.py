"""Does the prompt training work? Trains a small network on a CPU, with the public commands, and prints what it can do.

    python scripts/train_prompts.py phantoms --folder /tmp/prompts
    python scripts/train_prompts.py mni152 --folder /tmp/prompts

phantoms: volumes with known objects, which serve as supervoxels. The last 64 are held out.
mni152: bent copies of the MNI152 template with supervoxels from the bundled checkpoints. Grey and white matter are real
structures that the training never sees as labels.

It takes 15 to 20 minutes on two free cores. With fewer epochs the network learns less. The figures are Dice on held-out
cases, beside those of a network that has seen a single step at a learning rate of nearly 0.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

import yaml
from benchmarking.nnunet import CONFIGURATION, add_configuration, run, set_environment
from nnunetv2.utilities.dataset_name_id_conversion import convert_dataset_name_to_id
from phantom_dataset import store_true_objects, write_raw

from nnunetv2_supervoxel.files.supervoxel_files import supervoxel_folder

SCRIPTS = Path(__file__).parent
DATASETS = {"phantoms": "Dataset989_Phantoms", "mni152": "Dataset988_MNI152Demo"}
CASES = {"phantoms": 640, "mni152": 6}
HELD_OUT = {"phantoms": 64, "mni152": 1}
FIRST_SEED = 100_000  # of the phantoms; the recipe was found on others, from 0 up
PATCH = (16, 32, 32)
PHANTOM_SHAPE = (20, 40, 48)
SIZES = (250, 6000)  # voxels; other phantom objects are left out: specks, and the body that holds all the rest
SETTINGS = {
    "num_iterations_per_epoch": 500,
    "num_val_iterations_per_epoch": 10,
    "max_rounds": 2,
    "batch_size": 4,
    "optimizer": "adamw",
    "initial_lr": 0.002,
    "cpu_bfloat16": True,
    "augmentation": "mirroring",
    "min_target_voxels": 50,
    "max_patch_shift": 0.45,
}
UNTRAINED = {"num_epochs": 1, "num_iterations_per_epoch": 1, "initial_lr": 1e-9}

MIXTURE = {"point": 0.5, "box": 0.15, "scribble": 0.2, "lasso": 0.15}
POINTS = {"point": 1.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*DATASETS])
    parser.add_argument("--folder", type=Path, required=True, help="for everything that is written")
    parser.add_argument("--epochs", type=int, default=19, help="of 500 steps (default: %(default)s)")
    parser.add_argument("--cases", type=int, help=f"number of volumes (default: {CASES})")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="of the phantoms (default: %(default)s)")
    parser.add_argument("--set", default="{}", help="JSON of training settings to change")
    arguments = parser.parse_args()

    started = time.time()
    folder = arguments.folder.resolve() / arguments.what
    set_environment(folder)
    cases = arguments.cases or CASES[arguments.what]
    prepare(arguments.what, range(arguments.first_seed, arguments.first_seed + cases))
    settings = {"num_epochs": arguments.epochs, "interactions": MIXTURE} | SETTINGS | json.loads(arguments.set)
    number = convert_dataset_name_to_id(DATASETS[arguments.what])
    results = {
        "trained": train(number, folder / "trained", settings),
        "untrained": train(number, folder / "untrained", settings | UNTRAINED),
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))
    print(f"{time.time() - started:.0f} s in all; everything is in {folder}")


def prepare(what: str, seeds: range) -> None:
    """Make the dataset, let nnU-Net's command preprocess it, and store its supervoxels.

    Args:
        what: "phantoms" or "mni152".
        seeds: of the phantoms. Of the other dataset, their number alone counts.
    """
    dataset, number = DATASETS[what], convert_dataset_name_to_id(DATASETS[what])
    if what == "phantoms":
        write_raw(Path(os.environ["nnUNet_raw"]) / dataset, PHANTOM_SHAPE, seeds, spacing=(2, 1, 1))
    else:
        run(sys.executable, SCRIPTS / "demo_dataset.py", "-d", number, "-n", len(seeds))
    run("nnUNetv2_plan_and_preprocess", "-d", number, "-c", "3d_fullres", "-np", 2, "-npfp", 2)
    preprocessed = Path(os.environ["nnUNet_preprocessed"]) / dataset
    add_configuration(preprocessed / "nnUNetPlans.json", CONFIGURATION, PATCH)
    split(preprocessed, HELD_OUT[what])
    if what == "phantoms":
        supervoxels = supervoxel_folder(preprocessed, "nnUNetPlans_3d_fullres")
        store_true_objects(supervoxels, PHANTOM_SHAPE, seeds, PATCH, SIZES)
    else:
        run("nnUNetv2_supervoxel_generate", "-d", number, "-config", "tiny_brain", "-device", "cpu")


def split(preprocessed: Path, held_out: int) -> None:
    """Write fold 0: the last cases for validation, all others for training."""
    names = sorted(path.stem for path in (preprocessed / "gt_segmentations").iterdir() if path.is_file())
    names = [name.removesuffix(".nii") for name in names]
    folds = [{"train": names[:-held_out], "val": names[-held_out:]}]
    (preprocessed / "splits_final.json").write_text(json.dumps(folds))


def train(number: int, folder: Path, settings: dict) -> dict:
    """Train fold 0, validate with all interaction types, then once more with points alone.

    Args:
        number: of the dataset.
        folder: for the trained network.
        settings: of the training.

    Returns:
        Means of the two validations' summaries: {"all types": ..., "points": ...}.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "prompt_training.yaml"
    os.environ |= {"nnUNet_results": str(folder), "nnUNet_supervoxel_training_config": str(config)}
    command = ("nnUNetv2_train", number, CONFIGURATION, 0, "-tr", "SupervoxelPromptTrainer", "-device", "cpu")
    config.write_text(yaml.safe_dump(settings))
    run(*command)
    validation = next(folder.glob("*/*/fold_0/validation"))
    means = {"all types": json.loads((validation / "summary.json").read_text())["mean"]}
    shutil.copytree(validation, validation.with_name("validation_all_types"), dirs_exist_ok=True)
    config.write_text(yaml.safe_dump(settings | {"interactions": POINTS}))
    run(*command, "--val")
    return means | {"points": json.loads((validation / "summary.json").read_text())["mean"]}


def table(results: dict) -> str:
    """The figures that matter, as text."""
    lines = [f"{'':34}" + "".join(f"{name:>12}" for name in results)]
    for interactions in ("points", "all types"):
        for source in results["trained"][interactions]:
            means = [result[interactions][source] for result in results.values()]
            title = f"{source}s, {interactions}"
            lines.append(f"{title} ({means[0]['objects']} objects, {means[0]['prompted_at_another']['pairs']} pairs)")
            rows = {
                "after 1 interaction": [mean["dice"][0] for mean in means],
                f"after {len(means[0]['dice'])}": [mean["dice"][-1] for mean in means],
                "at another object: with that one": [mean["prompted_at_another"]["dice_with_other"] for mean in means],
                "at another object: with the first": [mean["prompted_at_another"]["dice_with_this"] for mean in means],
            }
            for name, values in rows.items():
                lines.append(f"  {name:32}" + "".join(f"{'-' if v is None else f'{v:.3f}':>12}" for v in values))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
