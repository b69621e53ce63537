"""`nnUNetv2_supervoxel_predict`: a folder segmented from a file of prompts, or from supervoxels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnunetv2_supervoxel.commands.entry_point import BEGINS_ANEW, entry_point
from nnunetv2_supervoxel.commands.flags import add_device, add_plans_and_configuration, make_parser
from nnunetv2_supervoxel.commands.summary import Tally, note_strays
from nnunetv2_supervoxel.export.model_folder import checkpoint_of
from nnunetv2_supervoxel.export.prompt_file import load_prompts
from nnunetv2_supervoxel.files.image_folders import NNUNET_ENDINGS, check_apart, find_images
from nnunetv2_supervoxel.files.nnunet_folders import environment_folder
from nnunetv2_supervoxel.files.supervoxel_folders import SupervoxelDataset, find_supervoxels

if TYPE_CHECKING:
    from nnunetv2_supervoxel.export.prompt_file import PromptSource


@entry_point(BEGINS_ANEW)
def main() -> int:
    arguments = _parse()
    # Mistakes are reported before anything heavy is imported.
    found = find_supervoxels(arguments.d, arguments.p, arguments.c) if arguments.d else None
    images = environment_folder("nnUNet_raw") / found.name / "imagesTr" if found and not arguments.i else arguments.i
    check_apart(images, arguments.o, "Masks")
    prompts = load_prompts(arguments.prompts) if arguments.prompts else None
    if found:
        found.check_output(arguments.o)
    elif prompts is None:
        check_apart(arguments.from_supervoxels, arguments.o, "Masks")
        find_images(arguments.from_supervoxels, NNUNET_ENDINGS)
    find_images(images, NNUNET_ENDINGS)
    checkpoint_of(arguments.m)

    from nnunetv2_supervoxel.export.predict import predict_folder

    wanted = prompts or _supervoxels(found, arguments.from_supervoxels)
    with Tally(lambda done, failed: f"{done} objects segmented, {failed} failed.") as tally:
        predict_folder(images, arguments.o, arguments.m, wanted, arguments.device, tally.add)
    if found:
        note_strays(found)
    return tally.exit_code


def _supervoxels(found: SupervoxelDataset | None, folder: Path) -> PromptSource:
    from nnunetv2_supervoxel.export.supervoxel_prompts import SupervoxelsInFolder, SupervoxelsOfDataset

    return SupervoxelsOfDataset(found) if found else SupervoxelsInFolder(folder)


def _parse() -> argparse.Namespace:
    parser = make_parser(
        "Segment what a file of prompts points at, or refine supervoxels, without a graphical client. Uses "
        "nnInteractive's official session (pip install nninteractive). Every object becomes OUT/CASE_OBJECT.nii.gz, 0 "
        "and 1, in its image's geometry.",
        'prompts: {"space": "voxel", "cases": {"patient1": {"liver": [{"type": "point", "position": [120, 88, 31]}, '
        '{"type": "lasso", "points": [[30, 12, 25], [44, 12, 25], [44, 12, 40]], "positive": false}]}}}; likewise '
        '"box" with two "corners", "scribble" with "points", and first of all a "mask" with a "file" and, in a label '
        'map, a "label". Coordinates are (x, y, z): voxel indices from 0, or '
        'with space "ras" or "lps" millimetres, as NIfTI or DICOM count them. '
        "example: nnUNetv2_supervoxel_predict -i scans -o masks -m my_model -prompts prompts.json",
    )
    parser.add_argument(
        "-i", type=Path, metavar="IN", help="folder with images (default with -d: the dataset's imagesTr)"
    )
    parser.add_argument(
        "-o", required=True, type=Path, metavar="OUT", help="folder for masks; those there are replaced"
    )
    parser.add_argument("-m", required=True, type=Path, metavar="MODEL_FOLDER", help="exported for nninteractive")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("-prompts", type=Path, metavar="FILE.json", help="what to point at")
    what.add_argument(
        "--from-supervoxels",
        nargs="?",
        type=Path,
        const=True,
        metavar="FOLDER",
        help="refine every supervoxel instead: those of dataset -d, or those in FOLDER, in the images' geometry (4D as "
        "SuperVoxel_generate writes them, or label maps)",
    )
    parser.add_argument("-d", metavar="DATASET_ID", help="ID or name of the dataset whose supervoxels are refined")
    add_plans_and_configuration(parser)
    add_device(parser)
    arguments = parser.parse_args()
    if arguments.d and arguments.from_supervoxels is not True:
        parser.error("-d goes with --from-supervoxels without a folder")
    if arguments.from_supervoxels is True and not arguments.d:
        parser.error("--from-supervoxels wants a folder, or a dataset with -d")
    if not arguments.i and not arguments.d:
        parser.error("-i is needed")
    return arguments
