"""nnUNetv2_supervoxel_generate in two processes with half of the cases each, against one process with all of them.

    python scripts/benchmark_parts.py --folder /tmp/benchmark --json parts.json

Whole commands, loading of packages and weights included. First as it comes: one process works on all cores by itself,
so that two share what one had. Then with one core for each process (Linux), as parts have cores of their own on a
cluster. The table says how many arrays are the same bytes either way. Only meaningful where nothing else runs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarking import number, parser, phantom_dataset, report

from nnunetv2_supervoxel.files.supervoxel_files import supervoxel_folder

DATASET = "Dataset986_Phantoms"
SHAPE = (40, 96, 112)
GOAL = 1.7


def main() -> None:
    arguments = _parse()
    preprocessed = phantom_dataset(arguments.folder.resolve(), DATASET, SHAPE, arguments.cases)
    supervoxels = supervoxel_folder(preprocessed, "nnUNetPlans_3d_fullres")
    for variable in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        os.environ.pop(variable, None)
    rows, seconds = [], {}
    for what, own_core in (("all cores", False), ("a core each", True)):
        times, row = compare(supervoxels, arguments.parts, arguments.repetitions, own_core)
        rows.append({"measured": f"generate, s: one process, {arguments.parts} processes; {what}"} | row)
        seconds[what] = times
    print()
    report(rows, {"shape": SHAPE, "cases": arguments.cases, "seconds": seconds}, arguments.json)


def compare(supervoxels: Path, parts: int, repetitions: int, own_core: bool) -> tuple[dict[int, list[float]], dict]:
    """All times by number of processes, and the faster of each as a row of the table."""
    times: dict[int, list[float]] = {1: [], parts: []}
    arrays = {}
    for _ in range(repetitions):
        for processes in times:
            shutil.rmtree(supervoxels, ignore_errors=True)
            times[processes].append(generate(processes, own_core))
            arrays[processes] = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in supervoxels.glob("*.b2nd")}
    usual, ours = (min(seconds) for seconds in times.values())
    same = sum(arrays[1][name] == arrays[parts].get(name) for name in arrays[1])
    return times, {
        "usual": usual,
        "ours": ours,
        "ratio": usual / ours,
        "goal": f">= {GOAL}",
        "reached": "yes" if usual / ours >= GOAL and same == len(arrays[1]) else "NO",
        "agreement": f"{same} of {len(arrays[1])} arrays equal",
    }


def generate(parts: int, own_core: bool) -> float:
    """Seconds that the command takes, in so many processes at once, each free to use all cores or on one of its own.

    Raises:
        SystemExit: one of them failed.
    """
    command = [str(Path(sys.executable).parent / "nnUNetv2_supervoxel_generate"), "-d", str(number(DATASET))]
    command += ["-config", "tiny", "-device", "cpu", "-num_parts", str(parts), "-part_id"]
    start = time.perf_counter()
    pins = [["taskset", "-c", str(part)] if own_core else [] for part in range(parts)]
    running = [subprocess.Popen([*pin, *command, str(part)]) for part, pin in enumerate(pins)]
    if any([process.wait() for process in running]):
        raise SystemExit("nnUNetv2_supervoxel_generate failed")
    return time.perf_counter() - start


def _parse() -> object:
    made = parser(__doc__)
    made.add_argument("--folder", type=Path, required=True, help="for the dataset; made once, used again")
    made.add_argument("--cases", type=int, default=12, help="phantoms (default: %(default)s)")
    made.add_argument("--parts", type=int, default=2, help="processes (default: %(default)s)")
    made.add_argument("--repetitions", type=int, default=2, help="of both ways; the faster counts (default: 2)")
    return made.parse_args()


if __name__ == "__main__":
    main()
