"""`SuperVoxel_generate`: the supervoxels of a folder of images."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunetv2_supervoxel.commands.entry_point import GOES_ON, entry_point, stops_with
from nnunetv2_supervoxel.commands.flags import (
    STARTS_OVER,
    add_config,
    add_running,
    check_running,
    make_parser,
    read_config,
    what_to_do,
)
from nnunetv2_supervoxel.commands.summary import RunSummary
from nnunetv2_supervoxel.files.image_folders import images_to_generate
from nnunetv2_supervoxel.threads_and_heap import share_machine


@entry_point(GOES_ON)
def main() -> int:
    arguments = _parse()
    config = read_config(arguments.config)
    output = arguments.o or arguments.i.resolve().parent / "supervoxel"
    images_to_generate(arguments.i, output, config)  # a wrong folder is reported before anything heavy is imported
    share_machine()

    from nnunetv2_supervoxel.runners.choice import chosen_runner
    from nnunetv2_supervoxel.runners.generate import Asked, folder_job

    job = folder_job(arguments.i, output, config, Asked(**what_to_do(arguments)))  # before models are loaded
    with (
        stops_with(STARTS_OVER if arguments.overwrite else ""),
        chosen_runner(config, arguments.device, arguments.num_gpus, arguments.dask) as runner,
        RunSummary([job], arguments.report, arguments.json_log) as summary,
    ):
        job.do(runner, summary.add)
    return summary.exit_code


def _parse() -> argparse.Namespace:
    parser = make_parser(
        "Make supervoxels for every image in a folder (NIfTI, NRRD, MetaImage, ... or Blosc2). NIfTI gives a 4D image "
        "with the input's geometry, one volume per supervoxel; .b2nd gives CASE.b2nd and CASE.pkl. CASE.json says how "
        "they were made. Existing ones are kept.",
        "example: SuperVoxel_generate -i scans -o supervoxels -c tiny",
    )
    parser.add_argument("-i", required=True, type=Path, metavar="IN", help="folder with images")
    parser.add_argument("-o", type=Path, metavar="OUT", help="folder for supervoxels (default: IN/../supervoxel)")
    add_config(parser, "-c", required=True)
    add_running(parser)
    arguments = parser.parse_args()
    check_running(parser, arguments)
    return arguments
