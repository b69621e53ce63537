"""Show what generation made of a preprocessed dataset: a table, and a picture with overlays."""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

from nnunetv2_supervoxel.files import supervoxel_files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-d", default="990", help="dataset ID (default: %(default)s)")
    parser.add_argument("-p", default="nnUNetPlans", help="plans (default: %(default)s)")
    parser.add_argument("-c", default="3d_fullres", help="configuration (default: %(default)s)")
    parser.add_argument("--report", type=Path, help="CSV that nnUNetv2_supervoxel_generate --report wrote")
    parser.add_argument("-o", type=Path, default=Path("overview.png"), help="picture (default: %(default)s)")
    arguments = parser.parse_args()
    dataset = Path(os.environ["nnUNet_preprocessed"]) / maybe_convert_to_dataset_name(arguments.d)
    images = dataset / f"{arguments.p}_{arguments.c}"
    if arguments.report:
        print_table(arguments.report)
    draw(images, supervoxel_files.supervoxel_folder(dataset, images.name), arguments.o)
    print(f"Overview: {arguments.o}")


def print_table(report: Path) -> None:
    """The report's rows in columns."""
    with open(report, newline="") as file:
        rows = list(csv.DictReader(file))
    print(f"\n{'case':<16}{'status':<8}{'supervoxels':>12}{'voxels':>10}{'seconds':>9}")
    for row in rows:
        print(
            f"{row['case']:<16}{row['status']:<8}{row['supervoxels']:>12}{row['voxels']:>10}"
            f"{float(row['seconds']):>9.1f}"
        )


def draw(images: Path, supervoxels: Path, picture: Path) -> None:
    """One row per case: the keyframe slice bare, and with overlays in all three orientations through it."""
    cases = supervoxel_files.list_cases(supervoxels)
    if not cases:
        raise SystemExit(f"{supervoxels} holds no supervoxels yet.")
    dataset = infer_dataset_class(str(images))(str(images))
    figure, axes = plt.subplots(len(cases), 4, figsize=(12, 3 * len(cases)), squeeze=False, facecolor="black")
    for row, case in zip(axes, cases, strict=True):
        image = np.asarray(dataset.load_case(case)[0][0])
        masks = supervoxel_files.open_array(supervoxels, case)[:] > 0
        keyframe = supervoxel_files.read_provenance(supervoxels, case)["supervoxels"][0]["keyframe"]
        centre = [keyframe, *(int(np.median(where)) for where in np.nonzero(masks.any(0))[1:])]
        low, high = np.percentile(image, (0.5, 99.5))
        row[0].imshow(image[keyframe], cmap="gray", vmin=low, vmax=high, origin="lower")
        row[0].set_title(f"{case}, slice {keyframe}", color="white")
        for axis, panel in enumerate(row[1:]):
            panel.imshow(np.take(image, centre[axis], axis), cmap="gray", vmin=low, vmax=high, origin="lower")
            panel.imshow(overlay(np.take(masks, centre[axis], axis + 1)), origin="lower")
            panel.set_title(f"{len(masks)} supervoxels, axis {axis}", color="white")
    for panel in axes.ravel():
        panel.axis("off")
    figure.tight_layout()
    figure.savefig(picture, dpi=80, facecolor="black")


def overlay(masks: np.ndarray) -> np.ndarray:
    """Masks (n, h, w) as RGBA (h, w, 4), larger ones first so that smaller ones stay visible."""
    colours = plt.get_cmap("tab20")(np.arange(len(masks)) % 20)
    picture = np.zeros((*masks.shape[1:], 4))
    for i in np.argsort(-masks.sum((1, 2))):
        picture[masks[i]] = (*colours[i][:3], 0.55)
    return picture


if __name__ == "__main__":
    main()
