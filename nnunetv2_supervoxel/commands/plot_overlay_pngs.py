"""`nnUNetv2_supervoxel_plot_overlay_pngs`: supervoxels over a slice of every case."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunetv2_supervoxel.commands.entry_point import BEGINS_ANEW, entry_point
from nnunetv2_supervoxel.commands.flags import add_cases_with_supervoxels, make_parser
from nnunetv2_supervoxel.commands.summary import finish, note_strays
from nnunetv2_supervoxel.files.nnunet_folders import dataset_folder, read_plans
from nnunetv2_supervoxel.files.supervoxel_folders import find_supervoxels
from nnunetv2_supervoxel.threads_and_heap import share_machine


@entry_point(BEGINS_ANEW)
def main() -> int:
    arguments = _parse()
    # Mistakes are reported before anything heavy is imported.
    configuration = arguments.c or _default_configuration(arguments.d, arguments.p)
    found = find_supervoxels(arguments.d, arguments.p, configuration).only(arguments.cases)
    found.check_output(arguments.o)
    share_machine()

    from nnunetv2_supervoxel.export.overlays import plot_overlays

    outcomes = plot_overlays(
        found, arguments.o, arguments.channel_idx, arguments.use_raw, arguments.overlay_intensity, arguments.np
    )
    note_strays(found)
    failures = {one.case: one.error for one in outcomes if one.error}
    plotted = sum(one.plotted for one in outcomes)
    return finish(
        failures,
        f"{len(outcomes)} cases: {plotted} plotted in {arguments.o}, "
        f"{len(outcomes) - plotted - len(failures)} without supervoxels, {len(failures)} failed.",
    )


def _default_configuration(dataset: str, plans: str) -> str:
    """nnU-Net's: 3d_fullres if the plans have it, else 2d."""
    return "3d_fullres" if "3d_fullres" in read_plans(dataset_folder(dataset), plans)["configurations"] else "2d"


def _parse() -> argparse.Namespace:
    from nnunetv2.configuration import default_num_processes

    parser = make_parser(
        "Paint supervoxels over the slice of every case where they have most of their voxels, OUT/CASE.png. The flags "
        "are those of nnUNetv2_plot_overlay_pngs, which does so with labels, and -cases. Where supervoxels overlap, "
        "the smaller one is seen. Spacing is disregarded. Small slices are enlarged to 512 pixels or more.",
        "example: nnUNetv2_supervoxel_plot_overlay_pngs -d 4 -o overlays",
    )
    parser.add_argument("-d", required=True, metavar="DATASET_ID", help="ID or name of the dataset")
    parser.add_argument("-o", required=True, type=Path, metavar="OUT", help="folder for the pictures")
    parser.add_argument(
        "-np",
        type=int,
        default=default_num_processes,
        metavar="N",
        help="cases at once (default: nnU-Net's, 8 or $nnUNet_def_n_proc)",
    )
    parser.add_argument(
        "-channel_idx", type=int, default=0, metavar="I", help="image channel, 0 is _0000 (default: %(default)s)"
    )
    parser.add_argument(
        "--use_raw", action="store_true", help="show the original images of $nnUNet_raw, not the preprocessed ones"
    )
    parser.add_argument("-p", default="nnUNetPlans", metavar="PLANS", help="plans (default: %(default)s)")
    parser.add_argument(
        "-c", metavar="CONFIGURATION", help="nnU-Net configuration (default: 3d_fullres if there is one, else 2d)"
    )
    add_cases_with_supervoxels(parser)
    parser.add_argument(
        "-overlay_intensity",
        type=float,
        default=0.6,
        metavar="SHARE",
        help="of the colours, from 0 to 1; higher is brighter and less transparent (default: %(default)s)",
    )
    arguments = parser.parse_args()
    if arguments.np < 1:
        parser.error("-np must be at least 1")
    if arguments.channel_idx < 0:
        parser.error("-channel_idx counts from 0")
    if not 0 <= arguments.overlay_intensity <= 1:
        parser.error("-overlay_intensity must be from 0 to 1")
    return arguments
