"""What all commands do with errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps

from nnunetv2_supervoxel.errors import UserError


def entry_point(command: Callable[[], int]) -> Callable[[], int]:
    """Turn a user's mistake into one line and exit code 1, and Ctrl-C into exit code 130.

    Args:
        command: reads the command line, does the work, and returns the exit code.
    """

    @wraps(command)
    def run() -> int:
        try:
            return command()
        except UserError as error:
            print(f"Error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("Stopped; what was finished is kept, the same command goes on from there.", file=sys.stderr)
            return 130

    return run
