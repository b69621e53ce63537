"""A preprocessed dataset of noise, and its supervoxels' files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

SUPERVOXELS = "cases_supervoxels"
_PLANS = {
    "transpose_forward": [0, 1, 2],
    "foreground_intensity_properties_per_channel": {"0": {}},
    "configurations": {
        "3d_fullres": {
            "data_identifier": "cases",
            "architecture": {},
            "spacing": [2.5, 0.7, 0.9],
            "patch_size": [16, 32, 32],
            "normalization_schemes": ["ZScoreNormalization"],
        }
    },
}


def write_dataset(folder: Path, cases: Sequence[str], shape: tuple[int, int, int]) -> None:
    """Write a dataset as nnU-Net's preprocessing does, its configuration called 3d_fullres.

    Args:
        folder: to be made, in $nnUNet_preprocessed.
        cases: identifiers.
        shape: of each (z, y, x) in voxels.
    """
    (folder / "cases").mkdir(parents=True)
    (folder / "nnUNetPlans.json").write_text(json.dumps(_PLANS))
    rng = np.random.default_rng(0)
    for case in cases:
        image = rng.normal(size=(1, *shape)).astype(np.float32)
        whole = {name: image.shape for name in ("chunks", "blocks", "chunks_seg", "blocks_seg")}
        nnUNetDatasetBlosc2.save_case(image, image.astype(np.int8), {}, str(folder / "cases" / case), **whole)


def contents(folder: Path) -> dict[str, bytes]:
    """Files by name, hidden ones, too; folders are empty."""
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in sorted(folder.iterdir())}
