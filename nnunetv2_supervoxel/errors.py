"""The one exception that stands for a mistake a user can correct."""

from __future__ import annotations

import sys
from types import TracebackType


class UserError(Exception):
    """Bad input, told in one sentence: what was wrong, where, and what to do next.

    Commands print the sentence and exit with a code other than 0; nothing else ends without a traceback.
    """


def tell_user_errors_plainly() -> None:
    """In commands of other packages (nnUNetv2_train), let a `UserError` be told by its sentence, without traceback."""
    tell_others = sys.excepthook

    def tell(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if issubclass(kind, UserError):
            print(f"Error: {error}", file=sys.stderr)
        else:
            tell_others(kind, error, traceback)

    sys.excepthook = tell


def last_line(error: Exception) -> str:
    """What another package says of its error, in one line: many say first where, and last what."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
