"""Mistakes that a user can correct, and how errors are shown."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from types import TracebackType


class UserError(Exception):
    """A mistake that a user can correct. Its message says what is wrong, where, and what to do next.

    Commands print the message without a traceback, and exit with a code other than 0. Every other exception is a bug
    and keeps its traceback.
    """


class NotWritableError(UserError):
    """Nothing can be written to a folder, so that no case whose files belong there can be done.

    Args:
        folder: which one.
        reason: why, and what to do about it.
    """

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(folder, reason)
        self.folder = folder
        self.reason = reason

    def __str__(self) -> str:
        return f"Nothing can be written to {self.folder}: {self.reason}."


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
    """The last line of another package's error message, in which many packages say what went wrong.

    It goes behind a plain sentence. Addresses in memory, and what ITK puts in front, are left out.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    line = re.sub(r"^\w*::?ERROR: |^ITK ERROR: (\w+\(0x[0-9a-f]+\): )?|\(?0x[0-9a-f]{6,}\)?", "", lines[-1])
    return line.rstrip(".")[:200]


def unexpected(error: Exception) -> str:
    """What a user reads of an error that only we can mend."""
    return f"unexpected {type(error).__name__}: {last_line(error)} (please report this)"


def check_cases(wanted: Iterable[str], known: Collection[str], where: str) -> None:
    """Refuse names of cases that a user has given, if there are no such cases.

    Args:
        wanted: what was given.
        known: all there are, at least one.
        where: how the message goes on after "There is no case 'x' ".

    Raises:
        UserError: of the first unknown name.
    """
    there = set(known)
    unknown = next((name for name in wanted if name not in there), None)
    if unknown is not None:
        hint = did_you_mean(unknown, known) or f"; cases are called as '{min(known)}', without an ending."
        raise UserError(f"There is no case '{unknown}' {where}{hint}")


def generate_again(case: str) -> str:
    """What to do about damaged supervoxel files of a case, as the end of a sentence."""
    return f"generate the case again (--overwrite -cases {case})."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ ", did you mean 'liver'?", with the known words that are as good as the nearest; nothing if none is near."""
    nearest = difflib.get_close_matches(word, known, n=3, cutoff=0.7)
    ratios = [round(difflib.SequenceMatcher(None, other, word).ratio(), 3) for other in nearest]
    best = sorted(f"'{other}'" for other, ratio in zip(nearest, ratios, strict=True) if ratio == ratios[0])
    return f", did you mean {' or '.join(best)}?" if best else ""
