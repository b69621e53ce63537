"""`SuperVoxel_save_fg_location`: class locations of a folder of supervoxel arrays."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunetv2_supervoxel.commands.entry_point import BEGINS_ANEW, entry_point
from nnunetv2_supervoxel.commands.flags import make_parser
from nnunetv2_supervoxel.commands.summary import Tally
from nnunetv2_supervoxel.files.image_folders import find_arrays


@entry_point(BEGINS_ANEW)
def main() -> int:
    arguments = _parse()
    find_arrays(arguments.supervoxel_folder)  # a wrong folder is reported before anything heavy is imported

    from nnunetv2_supervoxel.files.supervoxel_files import rewrite_folder

    with Tally(lambda done, failed: f"{done} of {done + failed} cases have class locations now.") as tally:
        rewrite_folder(arguments.supervoxel_folder, arguments.np, tally.add)
    return tally.exit_code


def _parse() -> argparse.Namespace:
    parser = make_parser(
        "Write the class locations (CASE.pkl) of every supervoxel array (CASE.b2nd) in a folder, anew where there are "
        "some. Generation writes them already; this is for arrays made or changed by other means.",
        "example: SuperVoxel_save_fg_location -supervoxel_folder nnUNetPlans_3d_fullres_supervoxels -np 8",
    )
    parser.add_argument("-supervoxel_folder", required=True, type=Path, metavar="DIR", help="folder with CASE.b2nd")
    parser.add_argument("-np", type=int, default=4, metavar="N", help="processes (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.np < 1:
        parser.error("-np must be at least 1")
    return arguments
