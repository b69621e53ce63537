"""Start a command of the bundle: `python run.py COMMAND ARGUMENTS`. It lies in the bundle's bin/."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import distribution
from pathlib import Path

if __name__ == "__main__":  # not in the processes that nnU-Net spawns, which import this file
    bundle = Path(__file__).resolve().parents[1]
    wanted = json.loads((bundle / "bin" / "bundle.json").read_text())["python"]
    here = "{}.{}".format(*sys.version_info)
    if here != wanted:
        sys.exit(
            f"Error: this bundle is for Python {wanted}, {sys.executable} is {here}; name another with PYTHON=PATH."
        )
    sys.path[0] = str(bundle)  # instead of bin/
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(bundle), os.environ.get("PYTHONPATH"))))
    sys.argv = sys.argv[1:]
    found = [
        entry
        for name in ("nnunetv2_supervoxel", "nnunetv2")
        for entry in distribution(name).entry_points
        if entry.name == sys.argv[0]
    ]
    try:
        sys.exit(found[0].load()())
    except ModuleNotFoundError as error:
        print(
            f"Error: this machine has no module {error.name}, which is not in the bundle; "
            "bin/check_bundle lists all that is missing.",
            file=sys.stderr,
        )
        sys.exit(1)
