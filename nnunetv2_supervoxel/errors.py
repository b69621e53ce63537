"""Mistakes that a user can correct, and how errors are shown."""

from __future__ import annotations

import sys
from types import TracebackType


class UserError(Exception):
    """A mistake that a user can correct. Its message says what is wrong, where, and what to do next.

    Commands print the message without a traceback, and exit with a code other than 0. Every other exception is a bug
    and keeps its traceback.
    """


def tell_user_errors_plainly() -> None:
    """Print the message of a `UserError` without a traceback, in commands of other packages, too (nnUNetv2_train)."""
    tell_others = sys.excepthook

    def tell(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if issubclass(kind, UserError):
            print(f"Error: {error}", file=sys.stderr)
        else:
            tell_others(kind, error, traceback)

    sys.excepthook = tell


def last_line(error: Exception) -> str:
    """The last line of another package's error message, in which many packages say what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
