"""Entry points: parse, call, print. No logic.

Heavy imports happen inside the commands, so that `-h` and wrong arguments answer at once.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.threads_and_heap import share_machine

if TYPE_CHECKING:
    from nnunetv2_supervoxel.runners.serial import CaseReport


def _command(function: Callable[[], int]) -> Callable[[], int]:
    """Turn a user's mistake into one line and exit code 1, and Ctrl-C into exit code 130."""

    @wraps(function)
    def run() -> int:
        try:
            return function()
        except UserError as error:
            print(f"Error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("Stopped; what was finished is kept, the same command goes on from there.", file=sys.stderr)
            return 130

    return run


@_command
def generate_dataset_command() -> int:
    """`nnUNetv2_supervoxel_generate`."""
    parser = _parser(
        "Make supervoxels for every case of preprocessed nnU-Net datasets. They appear in "
        "$nnUNet_preprocessed/DatasetXXX_NAME/<data identifier>_supervoxels: CASE.b2nd (n, z, y, x), CASE.pkl (class "
        "locations), CASE.json (provenance). Existing ones are kept.",
        "example: nnUNetv2_supervoxel_generate -d 4 -config tiny -device cpu",
    )
    parser.add_argument("-d", nargs="+", required=True, metavar="DATASET_ID", help="one or more dataset IDs or names")
    parser.add_argument("-p", default="nnUNetPlans", metavar="PLANS", help="plans (default: %(default)s)")
    parser.add_argument(
        "-c", default="3d_fullres", metavar="CONFIGURATION", help="nnU-Net configuration (default: %(default)s)"
    )
    _add_config(parser, "-config", required=False)
    _add_running(parser)
    arguments = parser.parse_args()
    _check_running(parser, arguments)
    share_machine()

    from nnunetv2_supervoxel.files.preprocessed import locate_dataset
    from nnunetv2_supervoxel.generation.pipeline import SupervoxelGenerator
    from nnunetv2_supervoxel.runners.serial import generate_dataset

    for dataset in arguments.d:  # a wrong one is said before the others' hours of work
        locate_dataset(dataset, arguments.p, arguments.c)
    generator = SupervoxelGenerator(_config(arguments.config), arguments.device)
    reports = [
        report
        for dataset in arguments.d
        for report in generate_dataset(
            dataset,
            plans=arguments.p,
            configuration=arguments.c,
            num_parts=arguments.num_parts,
            part_id=arguments.part_id,
            overwrite=arguments.overwrite,
            generator=generator,
        )
    ]
    return _finish(reports, arguments.report)


@_command
def generate_folder_command() -> int:
    """`SuperVoxel_generate`."""
    parser = _parser(
        "Make supervoxels for every image in a folder (NIfTI, NRRD, MetaImage, ... or Blosc2). NIfTI gives a 4D image "
        "with the input's geometry, one volume per supervoxel; .b2nd gives CASE.b2nd and CASE.pkl. CASE.json says how "
        "they were made. Existing ones are kept.",
        "example: SuperVoxel_generate -i scans -o supervoxels -c tiny",
    )
    parser.add_argument("-i", required=True, type=Path, metavar="IN", help="folder with images")
    parser.add_argument("-o", type=Path, metavar="OUT", help="folder for supervoxels (default: IN/../supervoxel)")
    _add_config(parser, "-c", required=True)
    _add_running(parser)
    arguments = parser.parse_args()
    _check_running(parser, arguments)
    share_machine()

    from nnunetv2_supervoxel.runners.serial import generate_folder

    reports = generate_folder(
        arguments.i,
        arguments.o or arguments.i.resolve().parent / "supervoxel",
        _config(arguments.config),
        device=arguments.device,
        num_parts=arguments.num_parts,
        part_id=arguments.part_id,
        overwrite=arguments.overwrite,
    )
    return _finish(reports, arguments.report)


@_command
def save_locations_command() -> int:
    """`SuperVoxel_save_fg_location`."""
    parser = _parser(
        "Write the class locations (CASE.pkl) of every supervoxel array (CASE.b2nd) in a folder, anew where there are "
        "some. Generation writes them already; this is for arrays made or changed by other means.",
        "example: SuperVoxel_save_fg_location -supervoxel_folder nnUNetPlans_3d_fullres_supervoxels -np 8",
    )
    parser.add_argument("-supervoxel_folder", required=True, type=Path, metavar="DIR", help="folder with CASE.b2nd")
    parser.add_argument("-np", type=int, default=4, metavar="N", help="processes (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.np < 1:
        parser.error("-np must be at least 1")

    from nnunetv2_supervoxel.files.supervoxel_files import rewrite_folder

    done, failures = rewrite_folder(arguments.supervoxel_folder, arguments.np)
    return _finish_with(failures, f"{done} of {done + len(failures)} cases have class locations now.")


@_command
def download_checkpoints_command() -> int:
    """`nnUNetv2_supervoxel_download_checkpoints`."""
    from nnunetv2_supervoxel.checkpoints.registry import (
        FOLDER_VARIABLE,
        OFFICIAL_CHECKPOINTS,
        checkpoint_folder,
        download_checkpoint,
    )

    parser = _parser(
        f"Fetch official SAM and SAM 2.1 checkpoints into ${FOLDER_VARIABLE} (now: {checkpoint_folder()}), check "
        "their SHA-256, and resume broken downloads. Without arguments: vit_h (2.6 GB) and large (0.9 GB).",
        "example: nnUNetv2_supervoxel_download_checkpoints --sam vit_b --sam2 small",
    )
    for family, title in (("sam", "SAM"), ("sam2", "SAM 2.1")):
        parser.add_argument(
            f"--{family}", nargs="+", default=[], choices=[*OFFICIAL_CHECKPOINTS[family]], help=f"{title} sizes"
        )
    arguments = parser.parse_args()
    if not arguments.sam and not arguments.sam2:
        arguments.sam, arguments.sam2 = ["vit_h"], ["large"]
    for family in ("sam", "sam2"):
        for name in getattr(arguments, family):
            print(download_checkpoint(OFFICIAL_CHECKPOINTS[family][name]))
    return 0


@_command
def trainers_command() -> int:
    """`nnUNetv2_supervoxel_trainers`."""
    _parser(
        "Print the folder that nnU-Net must know to find SupervoxelPromptTrainer.",
        'example: export nnUNet_extTrainer="$(nnUNetv2_supervoxel_trainers)"',
    ).parse_args()

    from nnunetv2_supervoxel.package_data import package_folder

    print(package_folder("trainers"))
    return 0


@_command
def export_command() -> int:
    """`nnUNetv2_supervoxel_export`."""
    parser = _parser(
        "Export a trained prompt model: as a model folder for nnInteractive (napari, MITK, Slicer), or as pretrained "
        "weights: nnunet for nnUNetv2_train -pretrained_weights (same plans), nnssl for nnU-Net's fine-tuning from "
        "nnssl checkpoints (other plans; needs nnU-Net's development version).",
        "example: nnUNetv2_supervoxel_export -d 990 -c 3d_fullres -o my_model --format nninteractive",
    )
    parser.add_argument("-d", required=True, metavar="DATASET_ID", help="ID or name of the dataset trained on")
    parser.add_argument(
        "-tr", default="SupervoxelPromptTrainer", metavar="TRAINER", help="trainer (default: %(default)s)"
    )
    parser.add_argument("-p", default="nnUNetPlans", metavar="PLANS", help="plans (default: %(default)s)")
    parser.add_argument(
        "-c", default="3d_fullres", metavar="CONFIGURATION", help="nnU-Net configuration (default: %(default)s)"
    )
    parser.add_argument("-f", default="all", metavar="FOLD", help="fold, 0 to 4 or all (default: %(default)s)")
    parser.add_argument(
        "-chk", default="checkpoint_final.pth", metavar="FILE", help="checkpoint's file name (default: %(default)s)"
    )
    parser.add_argument(
        "-o", required=True, type=Path, metavar="OUT", help="nninteractive: folder to make; else .pth file to write"
    )
    parser.add_argument("--format", required=True, choices=("nninteractive", "nnunet", "nnssl"), help="for whom")
    parser.add_argument("--license", metavar="TEXT", help="nninteractive: licence of the weights, shown to users")
    parser.add_argument(
        "--channels", type=int, metavar="N", help="nnunet, nnssl: image channels of the dataset to fine-tune on"
    )
    parser.add_argument(
        "--target",
        metavar="DATASET_ID",
        help="nnunet, nnssl: the dataset to fine-tune on: sets --channels; nnunet: is compared with the weights, too",
    )
    arguments = parser.parse_args()
    if arguments.channels is not None and arguments.channels < 1:
        parser.error("--channels must be at least 1")
    weights = ("nnunet", "nnssl")
    for flag, belongs_to in (("license", ("nninteractive",)), ("channels", weights), ("target", weights)):
        if getattr(arguments, flag) is not None and arguments.format not in belongs_to:
            parser.error(f"--{flag} goes with --format {' or '.join(belongs_to)}")

    from nnunetv2_supervoxel.export.trained_model import load_trained_model

    model = load_trained_model(arguments.d, arguments.tr, arguments.p, arguments.c, arguments.f, arguments.chk)
    if arguments.format == "nnunet":
        from nnunetv2_supervoxel.export.nnunet import export_nnunet

        export_nnunet(model, arguments.o, arguments.channels, arguments.target)
        print(f"{arguments.o}: train with nnUNetv2_train ... -pretrained_weights {arguments.o}")
        return 0
    if arguments.format == "nnssl":
        from nnunetv2_supervoxel.export.nnssl import export_nnssl

        takers = export_nnssl(model, arguments.o, arguments.channels, arguments.target)
        print(
            f"{arguments.o}: for {takers}: nnUNetv2_plan_like_dynamic ... -pc {arguments.o} or "
            f"nnUNetv2_preprocess_like_nnssl ... -pc {arguments.o}, then nnUNetv2_train_pretrained."
        )
        return 0
    from nnunetv2_supervoxel.export.nninteractive import NO_LICENSE, differences_in_the_session, export_nninteractive

    export_nninteractive(model, arguments.o, arguments.license or NO_LICENSE)
    for sentence in differences_in_the_session(model):
        print(f"Warning: {sentence}", file=sys.stderr)
    print(f"{arguments.o}: open this folder in nnInteractive, or give it to nnUNetv2_supervoxel_predict -m.")
    return 0


@_command
def predict_command() -> int:
    """`nnUNetv2_supervoxel_predict`."""
    parser = _parser(
        "Segment what a file of prompts points at, without a graphical client. Uses nnInteractive's official session "
        "(pip install nninteractive). Every object becomes OUT/CASE_OBJECT.nii.gz, 0 and 1, in its image's geometry.",
        'prompts: {"space": "voxel", "cases": {"patient1": {"liver": [{"type": "point", "position": [120, 88, 31]}, '
        '{"type": "lasso", "points": [[30, 12, 25], [44, 12, 25], [44, 12, 40]], "positive": false}]}}}; likewise '
        '"box" with two "corners", and "scribble" with "points". Coordinates are (x, y, z): voxel indices from 0, or '
        'with space "ras" or "lps" millimetres, as NIfTI or DICOM count them. '
        "example: nnUNetv2_supervoxel_predict -i scans -o masks -m my_model -prompts prompts.json",
    )
    parser.add_argument("-i", required=True, type=Path, metavar="IN", help="folder with images")
    parser.add_argument("-o", required=True, type=Path, metavar="OUT", help="folder for masks")
    parser.add_argument("-m", required=True, type=Path, metavar="MODEL_FOLDER", help="exported for nninteractive")
    parser.add_argument("-prompts", required=True, type=Path, metavar="FILE.json", help="what to point at")
    parser.add_argument("-device", help="cuda, cuda:1, cpu or mps (default: cuda where there is one, else cpu)")
    arguments = parser.parse_args()

    from nnunetv2_supervoxel.export.predict import predict_folder

    done, failures = predict_folder(arguments.i, arguments.o, arguments.m, arguments.prompts, arguments.device)
    return _finish_with(failures, f"{done} objects segmented, {len(failures)} failed.")


@_command
def import_command() -> int:
    """`nnUNetv2_supervoxel_import`."""
    parser = _parser(
        "Make a raw nnU-Net dataset of a folder of images without labels, which nnUNetv2_plan_and_preprocess takes: "
        'links to the images, labels that say "unknown" (nnU-Net\'s ignore label), dataset.json.',
        "example: nnUNetv2_supervoxel_import -i scans -d 990",
    )
    parser.add_argument(
        "-i",
        required=True,
        type=Path,
        metavar="FOLDER",
        help="folder with 3D images; those named CASE_0000, CASE_0001, ... are channels of one case",
    )
    parser.add_argument("-d", required=True, type=int, metavar="ID", help="number of the new dataset, 1 to 999")
    parser.add_argument("-n", default="Unlabelled", metavar="NAME", help="its name (default: %(default)s)")
    arguments = parser.parse_args()
    if not 1 <= arguments.d <= 999:
        parser.error("-d must be a number from 1 to 999")

    from nnunetv2_supervoxel.files.raw_dataset import import_images

    folder, done, failures = import_images(arguments.i, arguments.d, arguments.n)
    return _finish_with(
        failures,
        f"{folder}: {done} cases, {len(failures)} failed. Next: nnUNetv2_plan_and_preprocess -d {arguments.d}; to "
        "fine-tune on another dataset later, move its plans here first (see the README's 'whole way').",
    )


def _finish_with(failures: dict[str, str], summary: str) -> int:
    """Name the cases that failed, then sum up; the exit code."""
    for case, reason in failures.items():
        print(f"{case} failed: {reason}", file=sys.stderr)
    print(summary)
    return 1 if failures else 0


def _parser(description: str, example: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(description=description, epilog=example)


def _add_config(parser: argparse.ArgumentParser, flag: str, required: bool) -> None:
    parser.add_argument(
        flag,
        dest="config",
        required=required,
        metavar="FILE.yaml",
        help="settings: a YAML file, or a template's name such as 'tiny' (the bundled checkpoints, for trials)"
        + ("" if required else "; default: SAM vit_h and SAM 2.1 large"),
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-device", help="cuda, cuda:1, cpu or mps (default: cuda where there is one, else cpu)")
    parser.add_argument(
        "-num_parts", type=int, default=1, metavar="N", help="share the cases out among N processes (default: 1) ..."
    )
    parser.add_argument(
        "-part_id", type=int, default=0, metavar="I", help="... of which this is number I, from 0 (default: 0)"
    )
    parser.add_argument("--overwrite", action="store_true", help="make existing supervoxels anew")
    parser.add_argument("--report", type=Path, metavar="FILE.csv", help="write a table: case, status, supervoxels, ...")


def _check_running(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if arguments.num_parts < 1:
        parser.error("-num_parts must be at least 1")
    if not 0 <= arguments.part_id < arguments.num_parts:
        parser.error("-part_id counts from 0 to num_parts - 1")
    if arguments.report and not arguments.report.resolve().parent.is_dir():
        parser.error(f"--report: there is no folder {arguments.report.parent}")


def _config(name_or_path: str | None) -> object:
    from nnunetv2_supervoxel.config import GenerationConfig, find_config, load_config

    return load_config(find_config(name_or_path), GenerationConfig) if name_or_path else GenerationConfig()


def _finish(reports: Sequence[CaseReport], table: Path | None) -> int:
    """Print the summary, write the table if one is wanted; the exit code."""
    if table:
        _write_table(reports, table)
    failed = [report for report in reports if report.status == "failed"]
    count = {status: sum(r.status == status for r in reports) for status in ("made", "kept", "empty", "failed")}
    print(
        f"{len(reports)} cases: {count['made']} made, {count['kept']} kept, {count['empty']} without supervoxels, "
        f"{count['failed']} failed; {sum(report.supervoxels for report in reports)} supervoxels in all."
    )
    if differing := [report.differing for report in reports if report.differing]:
        settings = ", ".join(sorted(set().union(*differing)))
        print(
            f"Note: {len(differing)} of them were done before with other settings ({settings}) and stay as they are; "
            "--overwrite makes them anew.",
            file=sys.stderr,
        )
    for report in failed:
        print(f"  {report.case}: {report.message}", file=sys.stderr)
    return 1 if failed else 0


def _write_table(reports: Sequence[CaseReport], path: Path) -> None:
    from nnunetv2_supervoxel.runners.serial import CaseReport

    try:
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(CaseReport)])
            writer.writeheader()
            for report in reports:
                words = {"seconds": round(report.seconds, 2), "differing": ", ".join(report.differing)}
                writer.writerow(asdict(report) | words)
    except OSError as error:
        raise UserError(f"The supervoxels are done, but {path} can't be written: {error.strerror}.") from error
