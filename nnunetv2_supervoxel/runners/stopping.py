"""Ending early when a signal asks for it: Ctrl-C, Slurm's preemption, its time limit, `--signal=USR1@90`."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")  # Windows lacks the last one
# `timeout` and schedulers send the same signal to a process and once more to its group.
_SECONDS_OF_ONE_WISH = 1.0


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end. Like Ctrl-C's own exception, no `except Exception` catches it.

    Attributes:
        signal: which one.
        outcome: what a user should know of what was done; empty: what holds for the command at all times.
    """

    def __init__(self, signal: signal.Signals = signal.SIGINT, outcome: str = "") -> None:
        super().__init__(signal, outcome)
        self.signal = signal
        self.outcome = outcome

    def __str__(self) -> str:
        return self.signal.name


@dataclass
class _Wish:
    """To end this process.

    Attributes:
        process: that is to end. Children that were forked have its handlers, but not its wishes.
        signal: what brought it; None: nobody wants it.
        since: when, by `time.monotonic`.
        waits: until something is done that shouldn't be left half done.
    """

    process: int = field(default_factory=os.getpid)
    signal: signal.Signals | None = None
    since: float = 0.0
    waits: bool = False


_wish = _Wish()


@contextmanager
def stopping_at_signals() -> Iterator[None]:
    """Signals that ask this process to end raise `Stopped` where it is; a second one ends it at once.

    A signal that whoever started this process has ignored or handled stays so, and in other threads than the main one
    nothing changes.
    """
    global _wish
    signals = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    ours = [one for one in signals if signal.getsignal(one) in (signal.SIG_DFL, signal.default_int_handler)]
    if threading.current_thread() is not threading.main_thread():
        ours = []
    _wish = _Wish()
    before = {one: signal.signal(one, _handle) for one in ours}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        _wish = _Wish()


@contextmanager
def not_stopping_yet() -> Iterator[None]:
    """What is in here is done as a whole. A signal that arrives meanwhile waits for `stop_if_asked`."""
    before, _wish.waits = _wish.waits, True
    try:
        yield
    finally:
        _wish.waits = before


@contextmanager
def stopping_again() -> Iterator[None]:
    """A part of what is `not_stopping_yet` that a signal may end."""
    stop_if_asked()
    before, _wish.waits = _wish.waits, False
    try:
        yield
    finally:
        _wish.waits = before


def stop_if_asked() -> None:
    """Raise `Stopped` if a signal arrived while it had to wait, or if its exception was lost, as in a destructor."""
    if _wish.signal is not None:
        raise Stopped(_wish.signal)


def _handle(number: int, _: FrameType | None) -> None:
    now = time.monotonic()
    is_second = _wish.signal is not None and now - _wish.since > _SECONDS_OF_ONE_WISH
    # A worker of nnU-Net's pools that lost the exception would be waited for without end.
    if is_second or _wish.process != os.getpid():
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    elif _wish.signal is None:
        _wish.signal, _wish.since = signal.Signals(number), now
        if not _wish.waits:
            raise Stopped(_wish.signal)
