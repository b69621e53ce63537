"""Show what generation made of a preprocessed dataset: a table, and a picture of the supervoxels' outlines."""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
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
    """One row per case: the keyframe slice bare, then slices of all three orientations with supervoxels outlined."""
    cases = supervoxel_files.list_cases(supervoxels)
    if not cases:
        raise SystemExit(f"{supervoxels} holds no supervoxels yet.")
    dataset = infer_dataset_class(str(images))(str(images))
    figure, axes = plt.subplots(len(cases), 4, figsize=(12, 3 * len(cases)), squeeze=False, facecolor="black")
    for row, case in zip(axes, cases, strict=True):
        image = np.asarray(dataset.load_case(case)[0][0])
        masks = supervoxel_files.open_array(supervoxels, case)[:] > 0
        made = supervoxel_files.read_provenance(supervoxels, case)["supervoxels"]
        keyframes = {(supervoxel["axis"], supervoxel["keyframe"]) for supervoxel in made}
        draw_case(row, case, image, masks, keyframes)
    figure.tight_layout()
    figure.savefig(picture, dpi=80, facecolor="black")


def draw_case(
    panels: Sequence[Axes], case: str, image: np.ndarray, masks: np.ndarray, keyframes: set[tuple[int, int]]
) -> None:
    """Four panels of a case.

    Args:
        panels: the first shows a keyframe bare, the others axes 0 to 2.
        case: its name.
        image: (z, y, x).
        masks: boolean (n, z, y, x).
        keyframes: axis and slice of each.
    """
    axis, keyframe = min(keyframes)
    shown = [int(np.median(where)) for where in np.nonzero(masks.any(0))]
    shown[axis] = keyframe
    low, high = np.percentile(image, (0.5, 99.5))
    for number, panel in enumerate(panels):
        along = axis if number == 0 else number - 1
        panel.imshow(np.take(image, shown[along], along), cmap="gray", vmin=low, vmax=high, origin="lower")
        panel.set_xticks([])
        panel.set_yticks([])
    panels[0].set_title(f"{case}, slice {keyframe}", color="white")
    for along, panel in enumerate(panels[1:]):
        outline(panel, np.take(masks, shown[along], along + 1))
        mark(panel, along, keyframes)
        seen = "keyframe" if (along, shown[along]) in keyframes else f"axis {along}, slice {shown[along]}"
        panel.set_title(f"{len(masks)} supervoxels, {seen}", color="white")


def outline(panel: Axes, masks: np.ndarray) -> None:
    """The contours of masks (n, h, w), each in a colour of its own."""
    for number, mask in enumerate(masks):
        if mask.any():
            panel.contour(mask, levels=[0.5], colors=[plt.get_cmap("tab20")(number % 20)])


def mark(panel: Axes, axis: int, keyframes: set[tuple[int, int]]) -> None:
    """Dashed lines where keyframe slices cross the slice that a panel shows, which is one along `axis`."""
    rows, columns = (other for other in range(3) if other != axis)
    for of, keyframe in keyframes:
        if of == rows:
            panel.axhline(keyframe, color="yellow", linestyle="--", linewidth=1)
        elif of == columns:
            panel.axvline(keyframe, color="yellow", linestyle="--", linewidth=1)


if __name__ == "__main__":
    main()
