"""Progress bars, for terminals and for logs."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 60.0
_LINE = "{desc}: {n_fmt}/{total_fmt} {unit}s [{elapsed}<{remaining}{postfix}]"


class ProgressBar(tqdm):
    """tqdm's bar. Where the output is no terminal, as in Slurm's logs, it writes a line a minute instead.

    Args:
        arguments: as for `tqdm.tqdm`.
    """

    disable: bool  # tqdm has no types

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self._is_live = sys.stderr.isatty()
        self._next_line = 0.0
        if not self._is_live:
            settings |= {"bar_format": _LINE}
        super().__init__(*arguments, **settings)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool | None:
        """Show how far it is: on tqdm's line, or on one of its own once a minute."""
        if self._is_live:
            return super().display(msg, pos)
        if time.monotonic() < self._next_line:
            return False
        self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
        self.fp.write(f"{msg or self}\n")
        self.fp.flush()
        return True

    def clear(self, nolock: bool = False) -> None:
        """Make room for other output. Lines of a log stay."""
        if self._is_live:
            super().clear(nolock)

    def close(self) -> None:
        """End with how it stands."""
        if not self._is_live and not self.disable:
            self._next_line = 0.0
            self.display()
        self.leave = self._is_live
        super().close()
