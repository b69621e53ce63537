"""How long every command takes, and how much memory, to print its help or to report a mistake.

python scripts/benchmark_start_up.py
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarking.nnunet import command
from benchmarking.report import make_parser, report

_NOTHING = "missing"
MISTAKES = {
    "nnUNetv2_supervoxel_generate": {
        "wrong ID": ["-d", 999],
        "wrong key": ["-d", 999, "-config", "wrong_key.yaml"],
    },
    "SuperVoxel_generate": {
        "missing folder": ["-i", _NOTHING, "-c", "tiny"],
        "wrong key": ["-i", ".", "-c", "wrong_key.yaml"],
    },
    "SuperVoxel_save_fg_location": {"missing folder": ["-supervoxel_folder", _NOTHING]},
    "nnUNetv2_supervoxel_download_checkpoints": {"wrong name": ["--sam", _NOTHING]},
    "nnUNetv2_supervoxel_evaluate": {"wrong ID": ["-d", 999]},
    "nnUNetv2_supervoxel_trainers": {},
    "nnUNetv2_supervoxel_export": {"wrong ID": ["-d", 999, "-o", "out", "--format", "nnunet"]},
    "nnUNetv2_supervoxel_predict": {"missing file": ["-i", ".", "-o", "out", "-m", ".", "-prompts", _NOTHING]},
    "nnUNetv2_supervoxel_import": {"missing folder": ["-i", _NOTHING, "-d", 5]},
}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--repetitions", type=int, default=3, help="of which the fastest counts")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        os.environ |= {f"nnUNet_{name}": folder for name in ("raw", "preprocessed", "results")}
        (Path(folder) / "wrong_key.yaml").write_text("keyframse: 3")
        os.chdir(folder)
        rows = []
        for name, mistakes in MISTAKES.items():
            for what, flags in ({"-h": ["-h"]} | mistakes).items():
                runs = [_run(command(name, *flags)) for _ in range(arguments.repetitions)]
                seconds, megabytes = min(runs)
                rows.append({"command": name, "what": what, "s": seconds, "MB": megabytes})
    report(rows, {"repetitions": arguments.repetitions}, arguments.json)
    print(f"\nAt most {max(row['s'] for row in rows):.2f} s and {max(row['MB'] for row in rows):.0f} MB.")


def _run(line: list[str]) -> tuple[float, float]:
    """Seconds, and the most resident memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    return time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e6  # Linux counts in KiB


if __name__ == "__main__":
    main()
