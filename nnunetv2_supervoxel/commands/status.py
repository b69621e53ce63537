"""`nnUNetv2_supervoxel_status`: how far the generation of a dataset is."""

from __future__ import annotations

import argparse
from datetime import timedelta

from nnunetv2_supervoxel.commands.entry_point import ALL_OR_NOTHING, entry_point
from nnunetv2_supervoxel.commands.flags import add_plans_and_configuration, make_parser
from nnunetv2_supervoxel.files.nnunet_folders import data_identifier, dataset_folder, read_plans
from nnunetv2_supervoxel.files.owners import in_words
from nnunetv2_supervoxel.files.supervoxel_folders import list_preprocessed, supervoxel_folder
from nnunetv2_supervoxel.runners.status import Status, find_status


@entry_point(ALL_OR_NOTHING)
def main() -> int:
    arguments = _parse()
    dataset = dataset_folder(arguments.d)
    identifier = data_identifier(read_plans(dataset, arguments.p, arguments.c), arguments.c)
    folder = supervoxel_folder(dataset, identifier)
    _print(find_status(folder, list_preprocessed(dataset / identifier)), folder)
    return 0


def _print(status: Status, folder: object) -> None:
    counts, running = status.supervoxels.values(), status.running
    print(folder)
    print(
        f"{len(counts)} done, {len(running)} running, {len(status.failed)} failed, {status.left} left; "
        f"{sum(counts)} supervoxels so far"
        + (f", {sum(counts) / len(counts):.1f} per case" if counts else "")
        + (f" ({sum(not n for n in counts)} cases have none)" if not all(counts) else "")
    )
    if status.older:
        print(f"  {status.older} of those done are from before; a run makes supervoxels anew (--overwrite)")
    for case, claim in running.items():
        print(f"  running: {case}, by {in_words(claim.owner)}, for {_duration(status.now - claim.since)}")
    for case, reason in status.failed.items():
        print(f"  failed: {case}: {reason}")
    if status.seconds_left is not None:
        print(
            f"Time left: about {_duration(status.seconds_left)}, at {60 * status.cases_per_second:.3g} cases a minute."
        )
    elif running:
        print("Time left: not known before a case is done.")
    elif status.left or status.failed:
        print("No run is at work; nnUNetv2_supervoxel_generate does what is left, and tries again what failed.")


def _duration(seconds: float) -> str:
    """ "1:05:20" """
    return str(timedelta(seconds=max(0, round(seconds))))


def _parse() -> argparse.Namespace:
    parser = make_parser(
        "Say how far the supervoxels of a preprocessed nnU-Net dataset are: cases done, running (by whom, for how "
        "long), failed (why) and left, supervoxels so far, and the time left. It reads files alone, so it works from "
        "any machine that sees them.",
        "example: nnUNetv2_supervoxel_status -d 4",
    )
    parser.add_argument("-d", required=True, metavar="DATASET_ID", help="ID or name of the dataset")
    add_plans_and_configuration(parser)
    return parser.parse_args()
