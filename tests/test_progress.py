"""Progress bars in terminals and in logs."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from nnunetv2_supervoxel import progress
from nnunetv2_supervoxel.progress import ProgressBar

COUNT = """
from nnunetv2_supervoxel.progress import ProgressBar
for _ in ProgressBar(range(3), desc="scans", unit="case"):
    pass
"""


def lines_of(seconds_between_lines: float, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a log gets of four cases that take 50 s each."""
    now = [0.0]
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", seconds_between_lines)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    log = io.StringIO()
    with ProgressBar(desc="scans", total=4, unit="case", file=log) as bar:
        for number in range(4):
            now[0] += 50
            bar.set_postfix_str(f"{number} supervoxels")
            bar.write("a problem", file=log)
            bar.update()
    return log.getvalue().splitlines()


def test_a_log_gets_a_line_a_minute_and_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = lines_of(60, monkeypatch)
    assert [line for line in lines if line == "a problem"] == ["a problem"] * 4
    bars = [line for line in lines if line != "a problem"]
    assert "\r" not in "".join(bars)
    assert [line.partition(" cases ")[0] for line in bars] == ["scans: 0/4", "scans: 1/4", "scans: 3/4", "scans: 4/4"]
    assert bars[-1].endswith("3 supervoxels]")


def test_only_the_ends_where_minutes_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = [line for line in lines_of(1e6, monkeypatch) if line != "a problem"]
    assert [line.partition(" cases ")[0] for line in bars] == ["scans: 0/4", "scans: 4/4"]


def test_a_terminal_gets_a_bar() -> None:
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    subprocess.run([sys.executable, "-c", COUNT], stderr=its, check=True)
    os.close(its)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "scans: 100%|" in shown
    assert "\r" in shown
