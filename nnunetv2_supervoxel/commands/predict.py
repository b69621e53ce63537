"""`nnUNetv2_supervoxel_predict`: a folder segmented from a file of prompts."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunetv2_supervoxel.commands.entry_point import entry_point
from nnunetv2_supervoxel.commands.flags import add_device, make_parser
from nnunetv2_supervoxel.commands.summary import finish
from nnunetv2_supervoxel.export.model_folder import checkpoint_of
from nnunetv2_supervoxel.export.prompt_file import load_prompts
from nnunetv2_supervoxel.files.image_folders import NNUNET_ENDINGS, check_apart, find_images


@entry_point
def main() -> int:
    arguments = _parse()
    # Mistakes are reported before anything heavy is imported.
    check_apart(arguments.i, arguments.o, "Masks")
    load_prompts(arguments.prompts)
    find_images(arguments.i, NNUNET_ENDINGS)
    checkpoint_of(arguments.m)

    from nnunetv2_supervoxel.export.predict import predict_folder

    done, failures = predict_folder(arguments.i, arguments.o, arguments.m, arguments.prompts, arguments.device)
    return finish(failures, f"{done} objects segmented, {len(failures)} failed.")


def _parse() -> argparse.Namespace:
    parser = make_parser(
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
    add_device(parser)
    return parser.parse_args()
