"""`nnUNetv2_supervoxel_report`: a dataset's supervoxels on one page to look at."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from nnunetv2_supervoxel.commands.entry_point import ALL_OR_NOTHING, entry_point
from nnunetv2_supervoxel.commands.flags import add_plans_and_configuration, make_parser
from nnunetv2_supervoxel.commands.summary import finish, note_strays
from nnunetv2_supervoxel.pages.rendering import check_page
from nnunetv2_supervoxel.quality.inputs import find_dataset
from nnunetv2_supervoxel.threads_and_heap import share_machine


@entry_point(ALL_OR_NOTHING)
def main() -> int:
    arguments = _parse()
    # Mistakes are reported before anything heavy is imported.
    dataset = find_dataset(arguments.d, arguments.p, arguments.c, None)
    dataset.check_cases(arguments.view or ())
    page = arguments.o or dataset.folder / f"{dataset.supervoxels.name}_report.html"
    dataset.check_output(page.absolute().parent)
    check_page(page)
    share_machine()

    from nnunetv2_supervoxel.pages.dataset_page import write_dataset_page

    entries = write_dataset_page(dataset, page, arguments.view, arguments.np)
    note_strays(dataset)
    count = Counter(entry.status for entry in entries)
    failures = {entry.case: entry.figures.error for entry in entries if entry.status == "failed"}
    return finish(
        failures,
        f"{len(entries)} cases: {count['done']} with supervoxels, {count['empty']} without, {count['missing']} without "
        f"files, {count['failed']} damaged. Open {page} ({page.stat().st_size / 1e6:.1f} MB).",
    )


def _parse() -> argparse.Namespace:
    parser = make_parser(
        "Show what generation made of a preprocessed nnU-Net dataset on one HTML page, which opens from disk and needs "
        "nothing else: distributions, what to look at, a table of cases with pictures, and a viewer.",
        "example: nnUNetv2_supervoxel_report -d 4 -o report.html --view hippocampus_001 hippocampus_003",
    )
    parser.add_argument("-d", required=True, metavar="DATASET_ID", help="ID or name of the dataset")
    parser.add_argument(
        "-o",
        type=Path,
        metavar="FILE.html",
        help="the page (default: beside the supervoxels, ..._supervoxels_report.html); one that is there is replaced",
    )
    add_plans_and_configuration(parser)
    parser.add_argument(
        "--view",
        nargs="*",
        metavar="CASE",
        help="cases for the viewer (default: the first three and the three oddest; without any name: no viewer)",
    )
    parser.add_argument("-np", type=int, default=2, metavar="N", help="cases at once (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.np < 1:
        parser.error("-np must be at least 1")
    return arguments
