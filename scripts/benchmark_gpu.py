"""A GPU in one command of less than six minutes: is it correct, how fast is it, and what happens without memory.

Each part runs in a process of its own, with a time limit. What was measured until then is kept. The models of official
size have random weights, which take the same time, so nothing has to be downloaded.

    python scripts/benchmark_gpu.py --json figures.json                      # everything, on the first GPU
    python scripts/benchmark_gpu.py --parts masks propagation                # some parts
    python scripts/benchmark_gpu.py --device cpu --quick                     # tiny models: does the script itself work?
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from benchmarking.device_parts import PARTS, Settings
from benchmarking.report import make_parser, report

LIMITS = {
    "masks": 60,
    "propagation": 110,
    "proposals": 50,
    "memory": 40,
    "commands": 95,
}  # seconds; the sum is under 6 min


def main() -> None:
    arguments = _parse()
    if arguments.rows:  # this is the process of one part
        settings = Settings(torch.device(arguments.device), arguments.quick)
        with arguments.rows.open("a") as file:
            for row in PARTS[arguments.parts[0]](settings):
                file.write(json.dumps(row) + "\n")
                file.flush()
        return
    name = torch.cuda.get_device_name(arguments.device) if arguments.device.startswith("cuda") else "CPU"
    rows: list[dict] = []
    for part in arguments.parts:
        rows += _measured(part, arguments)
        print(f"{part}: done\n", flush=True)
        report(rows, {"device": name, "quick": arguments.quick}, arguments.json)
        print()
    print(f"Device: {name}")
    if any(row["ok"] == "NO" for row in rows):
        raise SystemExit("Error: something isn't as it should be; see the rows with NO.")


def _measured(part: str, arguments: argparse.Namespace) -> list[dict]:
    """The rows of one part, those until it was cut or failed among them."""
    with TemporaryDirectory() as folder:
        path, log = Path(folder) / "rows.jsonl", Path(folder) / "log.txt"
        options = ["--parts", part, "--device", arguments.device, "--rows", str(path)]
        command = [sys.executable, __file__, *options, *(["--quick"] if arguments.quick else [])]
        limit, problem = arguments.limit or LIMITS[part], None
        try:
            with log.open("w") as file:
                done = subprocess.run(command, stdout=file, stderr=file, timeout=limit, check=False)
            if done.returncode:
                problem = f"failed with exit code {done.returncode}"
        except subprocess.TimeoutExpired:
            problem = f"cut after {limit:g} s"
        if problem:
            print(log.read_text()[-3000:], flush=True)
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if problem:
        rows.append({"measured": problem, "ours": None, "other": None, "ratio": None, "goal": None, "ok": "NO"})
    return [{"part": part, **row} for row in rows]


def _parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--parts", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART", help=", ".join(PARTS)
    )
    parser.add_argument("--quick", action="store_true", help="tiny models and few objects")
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="for each part; default: what makes 6 minutes")
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("PyTorch sees no CUDA device here; --device cpu --quick tries the script without one.")
    return arguments


if __name__ == "__main__":
    main()
