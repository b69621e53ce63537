"""`nnUNetv2_supervoxel_import`: a raw nnU-Net dataset of images without labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunetv2_supervoxel.commands.entry_point import ALL_OR_NOTHING, entry_point
from nnunetv2_supervoxel.commands.flags import make_parser
from nnunetv2_supervoxel.commands.summary import finish


@entry_point(ALL_OR_NOTHING)
def main() -> int:
    arguments = _parse()

    from nnunetv2_supervoxel.files.raw_dataset import import_images

    folder, done, failures = import_images(arguments.i, arguments.d, arguments.n)
    return finish(
        failures,
        f"{folder}: {done} cases, {len(failures)} failed. Next: nnUNetv2_plan_and_preprocess -d {arguments.d}; to "
        "fine-tune on another dataset later, move its plans here first (see docs/how_to/fine_tune.md).",
    )


def _parse() -> argparse.Namespace:
    parser = make_parser(
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
    return arguments
