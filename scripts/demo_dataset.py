"""Build a small raw nnU-Net dataset from the MNI152 T1 template that nilearn carries; no download.

Every case is the same brain, but cropped, bent, and with another contrast and noise. Labels come from the template's
grey- and white-matter maps. The axes have three different lengths, so that no mix-up of axes can hide.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from scipy import ndimage

LABELS = {"background": 0, "grey_matter": 1, "white_matter": 2}


class Variation(NamedTuple):
    """How much cases differ from the template.

    Attributes:
        bend: standard deviation of the displacement of 4 x 4 x 4 control points, in voxels.
        gamma: range of the exponent that changes the contrast.
        bias: strength of the bias field; 0.15 brightens or darkens by up to 15 %.
        noise: range of the noise's standard deviation, where the image reaches from 0 to 1.
    """

    bend: float = 2.5
    gamma: tuple[float, float] = (0.7, 1.4)
    bias: float = 0.15
    noise: tuple[float, float] = (0.005, 0.025)


DEMO = Variation()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-d", type=int, default=990, help="dataset ID (default: %(default)s)")
    parser.add_argument("-n", type=int, default=6, help="number of cases (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    arguments = parser.parse_args()
    if "nnUNet_raw" not in os.environ:
        parser.error("set the environment variable nnUNet_raw to a folder")
    folder = Path(os.environ["nnUNet_raw"]) / f"Dataset{arguments.d:03d}_MNI152Demo"
    if (folder / "dataset.json").exists():  # written last, so everything else is there
        print(f"{folder} is there already")
        return
    build(folder, arguments.n, arguments.seed)
    print(f"{arguments.n} cases in {folder}")


def build(folder: Path, cases: int, seed: int) -> None:
    """Write `cases` images and labels and dataset.json into `folder`."""
    image, labels, affine = template()
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for i in range(cases):
        case_image, case_labels, case_affine = vary(image, labels, affine, np.random.default_rng([seed, i]))
        nib.save(nib.Nifti1Image(case_image, case_affine), folder / "imagesTr" / f"brain_{i:02d}_0000.nii.gz")
        nib.save(nib.Nifti1Image(case_labels, case_affine), folder / "labelsTr" / f"brain_{i:02d}.nii.gz")
    description = {
        "channel_names": {"0": "T1"},
        "labels": LABELS,
        "numTraining": cases,
        "file_ending": ".nii.gz",
        "name": "MNI152Demo",
        "licence": "MNI152 template: see nilearn.datasets.load_mni152_template",
    }
    (folder / "dataset.json").write_text(json.dumps(description, indent=2))


def template(resolution: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The T1 template in [0, 1], its tissue labels, both (x, y, z), and the affine.

    Raises:
        SystemExit: nilearn isn't installed.
    """
    try:
        from nilearn import datasets
    except ImportError:
        raise SystemExit("The MNI152 template is part of nilearn; run 'pip install nilearn'.") from None
    t1 = datasets.load_mni152_template(resolution=resolution)
    grey = datasets.load_mni152_gm_template(resolution=resolution).get_fdata()
    white = datasets.load_mni152_wm_template(resolution=resolution).get_fdata()
    labels = np.where(grey > 0.5, LABELS["grey_matter"], 0)
    labels = np.where(white > 0.5, LABELS["white_matter"], labels).astype(np.uint8)
    return t1.get_fdata().astype(np.float32), labels, t1.affine


def vary(
    image: np.ndarray,
    labels: np.ndarray,
    affine: np.ndarray,
    rng: np.random.Generator,
    variation: Variation = DEMO,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A bent, cropped copy with another contrast, a bias field and noise; the affine follows the crop."""
    margins = rng.integers(2, 12, (3, 2))
    while len({size - sum(margin) for size, margin in zip(image.shape, margins, strict=True)}) < 3:
        margins = rng.integers(2, 12, (3, 2))
    crop = tuple(slice(low, size - high) for (low, high), size in zip(margins, image.shape, strict=True))
    displacement = [
        ndimage.zoom(rng.normal(0, variation.bend, (4, 4, 4)), [size / 4 for size in image.shape], order=3)
        for _ in range(3)
    ]
    where = np.indices(image.shape) + np.stack(displacement)
    bent = ndimage.map_coordinates(image, where, order=1)[crop]
    bent_labels = ndimage.map_coordinates(labels, where, order=0)[crop]

    field = ndimage.zoom(rng.uniform(-1, 1, (3, 3, 3)), [size / 3 for size in bent.shape], order=2)
    scan = bent ** rng.uniform(*variation.gamma) * (1 + variation.bias * field)
    scan += rng.normal(0, rng.uniform(*variation.noise), bent.shape)
    shifted = affine.copy()
    shifted[:3, 3] += affine[:3, :3] @ margins[:, 0]
    return (1000 * scan).astype(np.float32), bent_labels.astype(np.uint8), shifted


if __name__ == "__main__":
    main()
