"""Flags that several commands share, and checks of their values."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunetv2_supervoxel.config import GenerationConfig, find_config, load_config
from nnunetv2_supervoxel.files.aside import check_writable


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


def add_running(parser: argparse.ArgumentParser) -> None:
    """How generation runs: device, parts, what is there already, report. `check_running` checks the values."""
    add_device(parser)
    parser.add_argument(
        "-num_parts", type=int, default=1, metavar="N", help="share the cases out among N processes (default: 1) ..."
    )
    parser.add_argument(
        "-part_id", type=int, default=0, metavar="I", help="... of which this is number I, from 0 (default: 0)"
    )
    parser.add_argument("--overwrite", action="store_true", help="make existing supervoxels anew")
    parser.add_argument("--report", type=Path, metavar="FILE.csv", help="write a table: case, status, supervoxels, ...")


def check_running(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End the command with the usage if a value of `add_running` is wrong.

    Raises:
        NotWritableError: the report can't be written.
    """
    if arguments.num_parts < 1:
        parser.error("-num_parts must be at least 1")
    if not 0 <= arguments.part_id < arguments.num_parts:
        parser.error("-part_id counts from 0 to num_parts - 1")
    if arguments.report and not arguments.report.resolve().parent.is_dir():
        parser.error(f"--report: there is no folder {arguments.report.parent}")
    if arguments.report and arguments.report.is_dir():
        parser.error(f"--report: {arguments.report} is a folder")
    if arguments.report:
        check_writable(arguments.report.resolve().parent)
