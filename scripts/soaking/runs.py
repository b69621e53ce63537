"""Real runs of nnUNetv2_supervoxel_generate, without importing everything anew for each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

# Imports once, then forks a process for every line of arguments, says its ID, and when it ends how.
_ZYGOTE = """
import gc, json, os, sys
import nnunetv2_supervoxel.runners.generate, skimage.segmentation
from nnunetv2_supervoxel.commands.generate_dataset import main
gc.freeze()  # runs collect garbage after every case; what was imported takes no time then
print("ready", flush=True)
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        sys.argv = ["nnUNetv2_supervoxel_generate", *json.loads(line)]
        sys.stdout = sys.stderr = open(LOG, "a")
        code = 99
        try:
            code = main()
        finally:
            sys.stdout.flush()
            os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Runs:
    """Starts one run after the other.

    Args:
        log: file to which the runs' words are added.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        log.touch()
        program = f"LOG = {str(log)!r}\n{_ZYGOTE}"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Runs:
        assert self._line() == "ready"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def start(self, *arguments: object) -> int:
        """Begin a run; its process ID. `wait` for it before the next."""
        print(json.dumps([str(argument) for argument in arguments]), file=self._process.stdin, flush=True)
        return int(self._line())

    def wait(self) -> int:
        """The exit code of the run; -9 if it was killed."""
        return int(self._line())

    def kill(self, process: int) -> None:
        """SIGKILL for the run, which may have ended just now."""
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the process that starts runs has ended; see {self.log}"
        return line.strip()
