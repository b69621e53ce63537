"""nnUNetv2_supervoxel_generate in two processes with half of the cases each, against one process with all of them.

    python scripts/benchmark_parts.py --folder /tmp/benchmark --json parts.json

Whole commands are timed, and that includes loading packages and weights. First they run as they come: one process
works on all cores by itself, so that two share what one had. Then every process has one core (Linux), as parts have
cores of their own on a cluster. The table says how many arrays are the same bytes either way. The figures mean nothing
if something else runs on the machine.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from argparse import Namespace
from pathlib import Path

from benchmarking.clock import Clock
from benchmarking.nnunet import command
from benchmarking.report import compared, make_parser, report
from nnunetv2.utilities.dataset_name_id_conversion import convert_dataset_name_to_id
from phantom_dataset import preprocess_phantoms

from nnunetv2_supervoxel.files.supervoxel_files import supervoxel_folder

DATASET = "Dataset986_Phantoms"
SHAPE = (40, 96, 112)
GOAL = 1.7


def main() -> None:
    arguments = _parse()
    preprocessed = preprocess_phantoms(arguments.folder.resolve(), DATASET, SHAPE, arguments.cases)
    supervoxels = supervoxel_folder(preprocessed, "nnUNetPlans_3d_fullres")
    for variable in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        os.environ.pop(variable, None)
    rows, seconds = [], {}
    for what, own_core in (("all cores", False), ("a core each", True)):
        seconds[what], arrays = measure(supervoxels, arguments.parts, arguments.repetitions, own_core)
        usual, ours = (min(times) for times in seconds[what].values())
        same = sum(arrays[1][name] == arrays[arguments.parts].get(name) for name in arrays[1])
        rows.append(
            compared(
                f"generate, s: one process, {arguments.parts} processes; {what}",
                usual,
                ours,
                usual / ours,
                f"{same} of {len(arrays[1])} arrays equal",
                f">= {GOAL}",
                usual / ours >= GOAL and same == len(arrays[1]),
            )
        )
    print()
    report(rows, {"shape": SHAPE, "cases": arguments.cases, "seconds": seconds}, arguments.json)


def measure(
    supervoxels: Path, parts: int, repetitions: int, own_core: bool
) -> tuple[dict[int, list[float]], dict[int, dict[str, str]]]:
    """All times by number of processes, and of the last time the arrays' SHA-256 by file name."""
    clock, arrays = Clock(), {}
    for _ in range(repetitions):
        for processes in sorted({1, parts}):
            shutil.rmtree(supervoxels, ignore_errors=True)
            with clock(str(processes)):
                generate(processes, own_core)
            arrays[processes] = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in supervoxels.glob("*.b2nd")}
    return {processes: clock.times[str(processes)] for processes in arrays}, arrays


def generate(parts: int, own_core: bool) -> None:
    """Run the command in so many processes at once, each free to use all cores, or on one of its own.

    Raises:
        SystemExit: one of them failed.
    """
    dataset = ("-d", convert_dataset_name_to_id(DATASET), "-config", "tiny", "-device", "cpu")
    running = []
    for part in range(parts):
        pin = ["taskset", "-c", str(part)] if own_core else []
        call = command("nnUNetv2_supervoxel_generate", *dataset, "-num_parts", parts, "-part_id", part)
        running.append(subprocess.Popen([*pin, *call]))
    if any([process.wait() for process in running]):
        raise SystemExit("nnUNetv2_supervoxel_generate failed")


def _parse() -> Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="for the dataset; made once, used again")
    parser.add_argument("--cases", type=int, default=12, help="phantoms (default: %(default)s)")
    parser.add_argument("--parts", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=2, help="of both ways; the faster counts (default: 2)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
