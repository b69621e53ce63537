"""`nnUNetv2_supervoxel_to_nifti`: supervoxels in the geometry of the original images."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunetv2_supervoxel.commands.entry_point import ASKS_BEFORE_REPLACING, entry_point
from nnunetv2_supervoxel.commands.flags import add_cases_with_supervoxels, add_plans_and_configuration, make_parser
from nnunetv2_supervoxel.commands.summary import finish, note_strays
from nnunetv2_supervoxel.files.supervoxel_folders import find_supervoxels
from nnunetv2_supervoxel.threads_and_heap import share_machine


@entry_point(ASKS_BEFORE_REPLACING)
def main() -> int:
    arguments = _parse()
    # Mistakes are reported before anything heavy is imported.
    found = find_supervoxels(arguments.d, arguments.p, arguments.c).only(arguments.cases)
    found.check_output(arguments.o)
    share_machine()

    from nnunetv2_supervoxel.export.to_nifti import write_supervoxels

    written = write_supervoxels(found, arguments.o, arguments.flatten, arguments.overwrite)
    note_strays(found)
    small = f"; {written.vanished} supervoxels are too small to have a voxel there" if written.vanished else ""
    return finish(
        written.failures,
        f"{len(found.cases)} cases: {written.cases} written to {arguments.o}, {written.empty} without supervoxels, "
        f"{len(written.failures)} failed{small}.",
    )


def _parse() -> argparse.Namespace:
    parser = make_parser(
        "Write supervoxels in the geometry of the original images, so that they open over the original scan: nnU-Net's "
        "crop, resampling and order of axes are undone. OUT/CASE.nii.gz has one volume per supervoxel (4D, 0 and 1).",
        "example: nnUNetv2_supervoxel_to_nifti -d 4 -o supervoxels_to_look_at -cases hippocampus_001 --flatten",
    )
    parser.add_argument("-d", required=True, metavar="DATASET_ID", help="ID or name of the dataset")
    parser.add_argument("-o", required=True, type=Path, metavar="OUT", help="folder for the files")
    add_plans_and_configuration(parser)
    add_cases_with_supervoxels(parser)
    parser.add_argument(
        "--flatten",
        action="store_true",
        help="write one label map (3D) instead: the first supervoxel is 1, the second 2, ...; where they overlap, "
        "the smaller one is seen",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")
    return parser.parse_args()
