"""`nnUNetv2_supervoxel_generate`: the supervoxels of preprocessed nnU-Net datasets."""

from __future__ import annotations

import argparse

from nnunetv2_supervoxel.commands.entry_point import GOES_ON, entry_point, stops_with
from nnunetv2_supervoxel.commands.flags import (
    STARTS_OVER,
    add_config,
    add_plans_and_configuration,
    add_running,
    check_running,
    make_parser,
    read_config,
    what_to_do,
)
from nnunetv2_supervoxel.commands.summary import RunSummary, note_without_image
from nnunetv2_supervoxel.files.nnunet_folders import data_identifier, dataset_folder, read_plans
from nnunetv2_supervoxel.threads_and_heap import share_machine


@entry_point(GOES_ON)
def main() -> int:
    arguments = _parse()
    config = read_config(arguments.config)
    folders = [dataset_folder(dataset) for dataset in arguments.d]
    plans = [read_plans(folder, arguments.p, arguments.c) for folder in folders]  # before anything heavy is imported
    share_machine()

    from nnunetv2_supervoxel.runners.choice import chosen_runner
    from nnunetv2_supervoxel.runners.generate import Asked, dataset_job

    # A dataset that isn't preprocessed or is unfit is reported before models are loaded, and hours of work on others.
    asked = Asked(**what_to_do(arguments))
    jobs = [dataset_job(dataset, config, arguments.p, arguments.c, asked) for dataset in arguments.d]
    with (
        stops_with(STARTS_OVER if arguments.overwrite else ""),
        chosen_runner(config, arguments.device, arguments.num_gpus, arguments.dask) as runner,
        RunSummary(jobs, arguments.report, arguments.json_log) as summary,
    ):
        for job in jobs:
            job.do(runner, summary.add)
    for folder, content in zip(folders, plans, strict=True):
        note_without_image(folder / data_identifier(content, arguments.c))
    return summary.exit_code


def _parse() -> argparse.Namespace:
    parser = make_parser(
        "Make supervoxels for every case of preprocessed nnU-Net datasets. They appear in "
        "$nnUNet_preprocessed/DatasetXXX_NAME/<data identifier>_supervoxels: CASE.b2nd (n, z, y, x), CASE.pkl (class "
        "locations), CASE.json (provenance). Existing ones are kept.",
        "example: nnUNetv2_supervoxel_generate -d 4 -config tiny -device cpu",
    )
    parser.add_argument("-d", nargs="+", required=True, metavar="DATASET_ID", help="one or more dataset IDs or names")
    add_plans_and_configuration(parser)
    add_config(parser, "-config", required=False)
    add_running(parser)
    arguments = parser.parse_args()
    check_running(parser, arguments)
    if arguments.cases and len(arguments.d) > 1:
        parser.error("-cases goes with a single dataset")
    return arguments
