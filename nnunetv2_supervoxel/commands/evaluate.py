"""`nnUNetv2_supervoxel_evaluate`: how good the supervoxels of datasets are."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunetv2_supervoxel.commands.entry_point import ALL_OR_NOTHING, entry_point
from nnunetv2_supervoxel.commands.flags import add_plans_and_configuration, make_parser
from nnunetv2_supervoxel.commands.summary import finish, note_strays
from nnunetv2_supervoxel.quality.inputs import find_dataset
from nnunetv2_supervoxel.runners.stopping import not_stopping_yet
from nnunetv2_supervoxel.threads_and_heap import share_machine


@entry_point(ALL_OR_NOTHING)
def main() -> int:
    arguments = _parse()
    # Wrong names and folders are reported before anything heavy is imported.
    found = [find_dataset(dataset, arguments.p, arguments.c, arguments.labels) for dataset in arguments.d]
    datasets = list({dataset.name: dataset for dataset in found}.values())
    folders = {dataset.name: dataset.output(arguments.o) for dataset in datasets}
    share_machine()

    from nnunetv2_supervoxel.quality.evaluation import evaluate_datasets
    from nnunetv2_supervoxel.quality.report import tables, write_report

    figures = evaluate_datasets(datasets, arguments.np)
    failures = {f"{one.dataset}, {one.case}": one.error for one in figures if one.error}
    if len(failures) == len(figures):  # an earlier evaluation stays
        return finish(failures, f"None of {len(figures)} cases could be evaluated; nothing was written.")
    print(tables(datasets, figures))
    with not_stopping_yet():  # results are written as a whole, or not
        for folder in dict.fromkeys(folders.values()):
            write_report(folder, [dataset for dataset in datasets if folders[dataset.name] == folder], figures)
    for dataset in datasets:
        note_strays(dataset)
        if without := len(dataset.cases) - len(dataset.label_maps or dataset.cases):
            print(f"Note: {without} of {len(dataset.cases)} cases of {dataset.name} have no label map.")
    where = ", ".join(str(folder) for folder in dict.fromkeys(folders.values()))
    return finish(failures, f"{len(figures) - len(failures)} of {len(figures)} cases evaluated; results in {where}.")


def _parse() -> argparse.Namespace:
    parser = make_parser(
        "Measure the supervoxels of preprocessed nnU-Net datasets: how many, how large, what they cover, how they "
        "overlap; and with labels how well they match structures. Results are printed, and written as cases.csv, "
        "structures.csv and summary.json.",
        "example: nnUNetv2_supervoxel_evaluate -d 4 -labels $nnUNet_raw/Dataset004_Hippocampus/labelsTr",
    )
    parser.add_argument("-d", nargs="+", required=True, metavar="DATASET_ID", help="one or more dataset IDs or names")
    add_plans_and_configuration(parser)
    parser.add_argument(
        "-labels",
        type=Path,
        metavar="FOLDER",
        help="label maps, CASE.nii.gz or CASE.b2nd: in the original images' geometry, or on the grid of the "
        "preprocessed cases (default: the dataset's own labels, if it has some)",
    )
    parser.add_argument(
        "-o",
        type=Path,
        metavar="FOLDER",
        help="folder for the results (default: beside the supervoxels, ..._supervoxels_evaluation)",
    )
    parser.add_argument("-np", type=int, default=2, metavar="N", help="cases at once (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.np < 1:
        parser.error("-np must be at least 1")
    return arguments
