"""What the scripts that train on a CPU share: nnU-Net's folders, a small network, calling the public commands."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_supervoxel.package_data import package_folder

CONFIGURATION = "3d_small"


def environment(folder: Path) -> None:
    """nnU-Net's folders, and where it finds the trainer."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(folder / name)
    os.environ |= {"nnUNet_results": str(folder / "trained"), "nnUNet_n_proc_DA": "1"}
    os.environ["nnUNet_extTrainer"] = str(package_folder("trainers"))


def add_configuration(
    plans: Path,
    name: str,
    patch_size: Sequence[int],
    features: Sequence[int] = (16, 32, 64, 64),
    convolutions: int = 2,
    first_kernel: Sequence[int] = (1, 3, 3),
) -> None:
    """Add a network and a patch that a CPU can train, for the cases preprocessed for 3d_fullres.

    Args:
        plans: the file.
        name: of the new configuration.
        patch_size: (z, y, x) in voxels, each divisible by 2 once for each stage but the first.
        features: of every stage.
        convolutions: in a stage of the encoder.
        first_kernel: of the first stage; flat for thick slices.
    """
    content, stages = json.loads(plans.read_text()), len(features)
    architecture = copy.deepcopy(content["configurations"]["3d_fullres"]["architecture"])
    architecture["arch_kwargs"] |= {
        "n_stages": stages,
        "features_per_stage": list(features),
        "kernel_sizes": [list(first_kernel), *[[3, 3, 3]] * (stages - 1)],
        "strides": [[1, 1, 1], *[[2, 2, 2]] * (stages - 1)],
        "n_conv_per_stage": [convolutions] * stages,
        "n_conv_per_stage_decoder": [1] * (stages - 1),
    }
    content["configurations"][name] = {
        "inherits_from": "3d_fullres",
        "patch_size": list(patch_size),
        "batch_size": 2,
        "architecture": architecture,
    }
    plans.write_text(json.dumps(content, indent=1))


def number(dataset: str) -> int:
    """Dataset989_Phantoms -> 989."""
    return int(dataset[len("Dataset") : len("Dataset") + 3])


def run(command: str | Path, *arguments: object, **options: object) -> None:
    """Run one of the environment's commands; its output goes to the terminal, unless `options` of subprocess say else.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    program = Path(sys.executable).parent / command
    subprocess.run([str(program), *map(str, arguments)], check=True, **options)
