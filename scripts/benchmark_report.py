"""A large dataset through `nnUNetv2_supervoxel_report`: seconds, memory and the size of the page.

Some cases are written as nnU-Net and generation would: a noisy body, ellipsoids as supervoxels, every tenth of them a
near copy of the one before. The others are hard links to these, so that a thousand of them need little room. The
command runs as a user would call it. Memory is the most that the command and its processes hold together.

    python scripts/benchmark_report.py                                            # 1,000 cases of 128 x 192 x 192
    python scripts/benchmark_report.py --cases 20 --shape 40 60 70 --objects 10   # a quick look
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from benchmark_evaluate import DATASET, IDENTIFIER, write_dataset
from benchmarking.report import make_parser, report

WRITTEN = 8


def main() -> None:
    arguments = _parse()
    with TemporaryDirectory(dir=arguments.folder) as folder:
        write_cases(Path(folder) / DATASET, tuple(arguments.shape), arguments.objects, arguments.cases, arguments.seed)
        page = Path(folder) / "report.html"
        command = [str(Path(sys.executable).with_name("nnUNetv2_supervoxel_report")), "-d", "900", "-o", str(page)]
        seconds, most = run([*command, "-np", str(arguments.np)], os.environ | {"nnUNet_preprocessed": folder})
        row = {
            "cases": arguments.cases,
            "processes": arguments.np,
            "s": seconds,
            "CPU s": sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]),
            "MB of memory": most / 1e6,
            "MB of page": page.stat().st_size / 1e6,
        }
    report([row], {name: getattr(arguments, name) for name in ("shape", "objects", "seed")}, arguments.json)


def write_cases(
    folder: Path, shape: tuple[int, int, int], objects: int, cases: int, seed: int, written: int = 8
) -> None:
    """A preprocessed dataset with supervoxels, of which no more than `written` cases take room."""
    for number in range(min(cases, written)):
        write_dataset(folder, shape, objects, seed + number, f"case{number:04d}")
    for number in range(written, cases):
        for path in folder.glob(f"{IDENTIFIER}*/case{number % written:04d}[._]*"):
            os.link(path, path.with_name(path.name.replace(f"case{number % written:04d}", f"case{number:04d}")))


def run(command: list[str], environment: dict[str, str]) -> tuple[float, int]:
    """Run a command; seconds, and the most bytes that it and its processes held (proportional set size).

    Raises:
        SystemExit: it failed.
    """
    started, most = time.perf_counter(), 0
    process = psutil.Popen(command, env=environment)
    while process.poll() is None:
        time.sleep(0.5)
        most = max(most, _held(process))
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}")
    return time.perf_counter() - started, most


def _held(process: psutil.Process) -> int:
    held = 0
    for one in (process, *process.children(recursive=True)):
        try:
            held += one.memory_full_info().pss
        except psutil.Error:  # it has just ended
            continue
    return held


def _parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--shape", type=int, nargs=3, default=[128, 192, 192], metavar=("Z", "Y", "X"))
    parser.add_argument("--objects", type=int, default=20, help="supervoxels of a case (default: %(default)s)")
    parser.add_argument("-np", type=int, default=2, help="cases at once (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the dataset is written (default: the system's for such)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
