"""Supervoxels to train on: ours of the bundled checkpoints, and SLIC's, in as little time as two cores allow."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from benchmarking.nnunet import logged
from nnunetv2_supervoxel.config import find_config

GENERATION = {
    "supervoxels": yaml.safe_load(find_config("dense_tiny").read_text()),
    "slic": {"method": "slic", "masks_per_image": 150},
}


def generate(number: int, config: Path, log: Path, cases: Sequence[str] = ()) -> None:
    """Make supervoxels of a preprocessed dataset, in two runs at once.

    Args:
        number: of the dataset.
        config: settings.
        log: for the output of the first; that of the second lies beside it.
        cases: to do; none: all.
    """
    command = ("nnUNetv2_supervoxel_generate", "-d", number, "-config", config, "-device", "cpu")
    chosen = ("-cases", *cases) if cases else ()
    logs = [log, log.with_stem(f"{log.stem}_beside")]
    with ThreadPoolExecutor(len(logs)) as pool:
        list(pool.map(lambda log: logged(log, *command, *chosen), logs))
