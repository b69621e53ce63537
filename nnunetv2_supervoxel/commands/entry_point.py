"""What all commands do with errors, and with signals that ask them to end."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.runners.stopping import Stopped, stopping_at_signals

Command = Callable[[], int]

# What a user should know when a signal has ended a command.
GOES_ON = "what was finished is kept, the same command goes on from there"
ALL_OR_NOTHING = "nothing was written"
BEGINS_ANEW = "what was written stays, the same command does everything anew"
ASKS_BEFORE_REPLACING = "what was written stays, the same command with --overwrite does everything anew"


@contextmanager
def stops_with(outcome: str) -> Iterator[None]:
    """Tell the user `outcome` if a signal ends what is in here; if it is empty, what `entry_point` says."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Stopped(_stopped(stop).signal, outcome) from stop


def entry_point(after_a_stop: str) -> Callable[[Command], Command]:
    """Turn a user's mistake into one line and exit code 1; Ctrl-C, SIGTERM and SIGUSR1 into one line and 128 + signal.

    Args:
        after_a_stop: one of the above. What is decorated reads the command line, does the work, and returns the exit
            code.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run() -> int:
            threads = set(threading.enumerate())
            try:
                with stopping_at_signals():
                    return command()
            except UserError as error:
                print(f"Error: {error}", file=sys.stderr)
                return 1
            except KeyboardInterrupt as stop:
                stopped = _stopped(stop)
                print(f"Stopped by {stopped.signal.name}; {stopped.outcome or after_a_stop}.", file=sys.stderr)
                return _end(128 + stopped.signal, threads)

        return run

    return decorate


def _stopped(stop: KeyboardInterrupt) -> Stopped:
    return stop if isinstance(stop, Stopped) else Stopped()


def _end(code: int, threads: set[threading.Thread]) -> int:
    """The exit code. If threads that began since `threads` still work, on what nobody waits for, end at once with it.

    Python itself would wait for them, on a CPU perhaps for as long as a case takes.
    """
    if any(not thread.daemon for thread in set(threading.enumerate()) - threads):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
