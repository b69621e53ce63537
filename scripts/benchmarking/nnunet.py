"""nnU-Net on a CPU: its folders, its commands, and a network that is small enough."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunetv2_supervoxel.package_data import package_folder

CONFIGURATION = "3d_small"


def set_environment(folder: Path) -> None:
    """Name nnU-Net's folders, all in `folder`, and our trainers in the environment."""
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


def command(name: str | Path, *arguments: object) -> list[str]:
    """The command line of one of the environment's commands, or of Python itself; or else of one on the PATH."""
    of_environment = Path(sys.executable).parent / name
    program = of_environment if of_environment.is_file() else shutil.which(name) or of_environment
    return [str(program), *map(str, arguments)]


def run(name: str | Path, *arguments: object, **options: Any) -> None:
    """Run one of the environment's commands.

    Args:
        name: of the command.
        arguments: of the command.
        options: of `subprocess.run`. Without any, the command's output goes to the terminal.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    subprocess.run(command(name, *arguments), check=True, **options)


def logged(log: Path, *command: object, **options: object) -> float:
    """Run a command with its output in a file; the seconds it took.

    Raises:
        SystemExit: the command failed; names the file.
    """
    started = time.time()
    with open(log, "a") as file:
        try:
            run(*command, stdout=file, stderr=subprocess.STDOUT, **options)
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"{command[0]} failed ({error.returncode}); its output is in {log}") from error
    return time.time() - started
