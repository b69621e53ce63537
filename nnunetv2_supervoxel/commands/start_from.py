"""`nnUNetv2_supervoxel_start_from`: a dataset is prepared for training on from a model for nnInteractive."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from nnunetv2_supervoxel.commands.entry_point import ALL_OR_NOTHING, entry_point
from nnunetv2_supervoxel.commands.flags import make_parser
from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.model_folder import ModelFolder, read_model_folder
from nnunetv2_supervoxel.files.aside import file_aside
from nnunetv2_supervoxel.files.nnunet_folders import dataset_folder, read_plans
from nnunetv2_supervoxel.files.raw_dataset import NOTHING_LABELLED

DEFAULT_PLANS = "nnUNetPlans_nninteractive"
DEFAULT_GPU_MEMORY = 24.0  # GB, of a GPU that is in most labs


@entry_point(ALL_OR_NOTHING)
def main() -> int:
    arguments = _parse()
    described = read_model_folder(arguments.m)  # a mistake is reported before anything heavy is imported
    folder = dataset_folder(arguments.d)
    own = read_plans(folder, arguments.sp, None)
    plans_path, config_path = folder / f"{arguments.p}.json", folder / f"{arguments.p}.yaml"
    if there := [path for path in (plans_path, config_path) if path.exists() and not arguments.overwrite]:
        raise UserError(f"{there[0]} is there already; name other plans with -p, or replace it with --overwrite.")

    from nnunetv2_supervoxel.export.start_model import load_start_model
    from nnunetv2_supervoxel.export.start_plans import plans_to_start_from

    dataset_json = _read_json(folder / "dataset.json")
    model = load_start_model(arguments.m)
    plans, differences = plans_to_start_from(model, own, dataset_json, arguments.p, arguments.gpu_memory_target)
    with file_aside(config_path) as aside:
        aside.write_text(_training_config(described, dataset_json))
    with file_aside(plans_path) as aside:
        aside.write_text(json.dumps(plans, indent=1) + "\n")
    print("\n".join([*differences, *_licence(described), *_next_steps(folder.name, arguments.p, config_path)]))
    return 0


def _training_config(model: ModelFolder, dataset_json: dict) -> str:
    """Settings for SupervoxelPromptTrainer, as YAML that the user may change."""
    labels = dataset_json.get("labels", {})
    labelled = labels != NOTHING_LABELLED and not {"background", "ignore"}.issuperset(labels)
    return (
        "# Settings of SupervoxelPromptTrainer. The template prompt_training.yaml explains all that there are.\n"
        f"start_from: {json.dumps(str(model.folder.resolve()))}\n"
        "# Share of training objects that are the dataset's labels; all others are supervoxels.\n"
        f"real_label_fraction: {0.5 if labelled else 0.0}\n"
    )


def _licence(model: ModelFolder) -> list[str]:
    if model.license is None:
        return ["Licence: the model names none; ask whoever made it before you hand on what you train from it."]
    return [f"Licence of the model, and so of what you train from it: {model.license.splitlines()[0]}."]


def _next_steps(dataset: str, plans: str, config: Path) -> list[str]:
    number = int(dataset[len("Dataset") :].split("_")[0])
    return [
        f"{dataset} is prepared as plans {plans}. Next:",
        f"  nnUNetv2_preprocess -d {number} -p {plans} -c 3d_fullres",
        f"  nnUNetv2_supervoxel_generate -d {number} -p {plans}",
        '  export nnUNet_extTrainer="$(nnUNetv2_supervoxel_trainers)"',
        f"  export nnUNet_supervoxel_training_config={config}",
        f"  nnUNetv2_train {number} 3d_fullres all -tr SupervoxelPromptTrainer -p {plans}",
    ]


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read ({error}); plan the dataset again.") from error


def _parse() -> argparse.Namespace:
    parser = make_parser(
        "Prepare a dataset for training on from a model for nnInteractive (an official model folder, or what "
        "nnUNetv2_supervoxel_export made): writes nnU-Net plans with the model's network and patch, which leave images "
        "as nnInteractive shows them to it, and settings for SupervoxelPromptTrainer. Says what differs from the "
        "dataset's own plans, and which commands come next.",
        "example: nnUNetv2_supervoxel_start_from -m ~/.nninteractive/models/nnInteractive_v1.0 -d 4",
    )
    parser.add_argument("-m", required=True, type=Path, metavar="MODEL_FOLDER", help="model folder to start from")
    parser.add_argument("-d", required=True, metavar="DATASET_ID", help="ID or name of a dataset that nnU-Net planned")
    parser.add_argument("-p", default=DEFAULT_PLANS, metavar="PLANS", help="plans to write (default: %(default)s)")
    parser.add_argument(
        "-sp", default="nnUNetPlans", metavar="PLANS", help="the dataset's own plans (default: %(default)s)"
    )
    parser.add_argument(
        "-gpu_memory_target",
        type=float,
        default=DEFAULT_GPU_MEMORY,
        metavar="GB",
        help="memory that a batch should fit into, by nnU-Net's estimate (default: %(default)g)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace plans and settings of this name")
    arguments = parser.parse_args()
    if arguments.gpu_memory_target <= 0:
        parser.error("-gpu_memory_target must be above 0")
    if arguments.p == arguments.sp:
        parser.error("-p and -sp must differ: the dataset's own plans stay as they are")
    return arguments
