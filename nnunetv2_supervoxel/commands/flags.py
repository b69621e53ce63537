"""Flags that several commands share, and checks of their values."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from nnunetv2_supervoxel.config import GenerationConfig, find_config, load_config
from nnunetv2_supervoxel.files.aside import check_writable
from nnunetv2_supervoxel.files.claims import CLAIM_TIMEOUT

STARTS_OVER = "what was finished is kept, the rest is as it was; with --overwrite, the same command begins anew"


def make_parser(description: str, example: str) -> argparse.ArgumentParser:
    """A parser whose help ends with an example."""
    return argparse.ArgumentParser(description=description, epilog=example)


def add_plans_and_configuration(parser: argparse.ArgumentParser) -> None:
    """`-p` and `-c`, as nnU-Net has them."""
    parser.add_argument("-p", default="nnUNetPlans", metavar="PLANS", help="plans (default: %(default)s)")
    parser.add_argument(
        "-c", default="3d_fullres", metavar="CONFIGURATION", help="nnU-Net configuration (default: %(default)s)"
    )


def add_config(parser: argparse.ArgumentParser, flag: str, required: bool) -> None:
    """A flag for the settings of generation; `read_config` takes its value."""
    parser.add_argument(
        flag,
        dest="config",
        required=required,
        metavar="FILE.yaml",
        help="settings: a YAML file, or a template's name such as 'tiny' (the bundled checkpoints, for trials)"
        + ("" if required else "; default: SAM vit_h and SAM 2.1 large"),
    )


def read_config(name_or_path: str | None) -> GenerationConfig:
    """The settings of generation. Nothing heavy is imported for it, so that a mistake is reported at once.

    Raises:
        UserError: there is no such file or template, or it is wrong.
    """
    return load_config(find_config(name_or_path), GenerationConfig) if name_or_path else GenerationConfig()


def add_device(parser: argparse.ArgumentParser) -> None:
    """`-device`, as nnU-Net has it."""
    parser.add_argument("-device", help="cuda, cuda:1, cpu or mps (default: cuda where there is one, else cpu)")


def add_cases_with_supervoxels(parser: argparse.ArgumentParser) -> None:
    """`-cases`, of a dataset that has supervoxels already; see `SupervoxelDataset.only`."""
    parser.add_argument("-cases", nargs="+", metavar="CASE", help="only these (default: all with supervoxels)")


def add_running(parser: argparse.ArgumentParser) -> None:
    """How generation runs: cases, device, workers, parts, reports. `check_running` checks the values."""
    parser.add_argument(
        "-cases", nargs="+", metavar="CASE", help="only these, such as a few to try settings on (default: all)"
    )
    add_device(parser)
    workers = parser.add_mutually_exclusive_group()
    workers.add_argument("-num_gpus", type=int, default=1, metavar="N", help="run on N GPUs of this machine at once")
    workers.add_argument(
        "--dask",
        metavar="ADDRESS|FILE.json|local",
        help="have the workers of a Dask cluster do the cases: the scheduler's address (tcp://host:8786), its "
        "scheduler file, or 'local': this machine, one worker per GPU",
    )
    parser.add_argument(
        "-num_parts", type=int, default=1, metavar="N", help="do a fixed share of the cases, one of N (default: 1) ..."
    )
    parser.add_argument(
        "-part_id", type=int, default=0, metavar="I", help="... of which this is number I, from 0 (default: 0)"
    )
    parser.add_argument(
        "--claim-timeout",
        type=float,
        default=CLAIM_TIMEOUT,
        metavar="SECONDS",
        help="several runs share a dataset, and each case is done once; a run on another machine that hasn't been "
        "heard of for so long is taken for dead (default: %(default)g)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="make existing supervoxels anew; a run that was stopped starts over"
    )
    parser.add_argument("--report", type=Path, metavar="FILE.csv", help="write a table: case, status, supervoxels, ...")
    parser.add_argument("--json-log", type=Path, metavar="FILE", help="add a line of JSON as soon as a case is done")


def what_to_do(arguments: argparse.Namespace) -> dict[str, Any]:
    """Which cases `add_running`'s values ask for, and how, as `Asked` takes it."""
    names = ("num_parts", "part_id", "overwrite", "claim_timeout")
    return {"names": arguments.cases} | {name: getattr(arguments, name) for name in names}


def check_running(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End the command with the usage if a value of `add_running` is wrong.

    Raises:
        NotWritableError: the report or the log can't be written.
    """
    if arguments.num_gpus < 1:
        parser.error("-num_gpus must be at least 1")
    if arguments.num_gpus > 1 and arguments.device not in (None, "cuda", "cpu"):
        parser.error("-num_gpus gives every worker a device of its own; leave -device out, or say cpu")
    if arguments.num_parts < 1:
        parser.error("-num_parts must be at least 1")
    if not 0 <= arguments.part_id < arguments.num_parts:
        parser.error("-part_id counts from 0 to num_parts - 1")
    if not 0 < arguments.claim_timeout < math.inf:
        parser.error("--claim-timeout must be above 0")
    for flag, path in (("--report", arguments.report), ("--json-log", arguments.json_log)):
        if path and not path.resolve().parent.is_dir():
            parser.error(f"{flag}: there is no folder {path.parent}")
        if path and path.is_dir():
            parser.error(f"{flag}: {path} is a folder")
        if path:
            check_writable(path.resolve().parent)
