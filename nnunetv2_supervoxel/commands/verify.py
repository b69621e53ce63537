"""`nnUNetv2_supervoxel_verify`: whether the supervoxel files of a dataset are sound."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from typing import TYPE_CHECKING

from nnunetv2_supervoxel.commands.entry_point import GOES_ON, entry_point
from nnunetv2_supervoxel.commands.flags import add_plans_and_configuration, make_parser
from nnunetv2_supervoxel.files.supervoxel_folders import find_supervoxels
from nnunetv2_supervoxel.threads_and_heap import share_machine

if TYPE_CHECKING:
    from nnunetv2_supervoxel.quality.verification import Verification


@entry_point(GOES_ON)
def main() -> int:
    arguments = _parse()
    found = find_supervoxels(arguments.d, arguments.p, arguments.c)  # mistakes are told before heavy imports
    share_machine()

    from nnunetv2_supervoxel.quality.verification import verify_dataset

    verified = verify_dataset(found, arguments.repair)
    for case in verified.cases:
        for fault in case.faults:
            print(f"{case.case}: {case.outcome}: {fault.text}", file=sys.stderr)
    for name in verified.other_files:
        hidden = "comes from a run that was stopped, or is at work"
        why = hidden if name.startswith(".") else "belongs to no preprocessed case"
        print(f"Note: {found.supervoxels / name} {why}; it is left alone.", file=sys.stderr)
    return _sum_up(verified, arguments.d)


def _sum_up(verified: Verification, dataset: str) -> int:
    """Print the last line; the exit code."""
    count = Counter(case.outcome for case in verified.cases)
    following = ""
    if any(case.mendable for case in verified.cases):
        following = f" Next: nnUNetv2_supervoxel_verify -d {dataset} --repair, with the same -p and -c."
    elif count["removed"]:
        following = f" Next: nnUNetv2_supervoxel_generate -d {dataset}, with the same -p and -c."
    print(
        f"{len(verified.cases)} cases: {count['sound']} sound, {count['repaired']} repaired, {count['removed']} "
        f"removed, {count['wrong']} wrong; {verified.without} preprocessed cases have no supervoxel files.{following}"
    )
    return 1 if count["wrong"] or count["removed"] else 0


def _parse() -> argparse.Namespace:
    parser = make_parser(
        "Check the supervoxel files of every case of a preprocessed nnU-Net dataset: shape, values and chunks of the "
        "array, its SHA-256, class locations, and what the JSON says of the supervoxels. What is wrong is listed case "
        "by case, and the exit code is 1. Files that belong to no case are named, too.",
        "example: nnUNetv2_supervoxel_verify -d 4 --repair",
    )
    parser.add_argument("-d", required=True, metavar="DATASET_ID", help="ID or name of the dataset")
    add_plans_and_configuration(parser)
    parser.add_argument(
        "--repair",
        action="store_true",
        help="where the array is readable, write the case's files anew from it (an array that was changed is taken as "
        "it is now); else remove them, so that nnUNetv2_supervoxel_generate makes the case again",
    )
    return parser.parse_args()
