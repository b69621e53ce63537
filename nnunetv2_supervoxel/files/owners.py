"""Which process something on disk belongs to, and whether that process has ended."""

from __future__ import annotations

import os
import re
import socket
from functools import cache
from pathlib import Path

import psutil


def this_process() -> str:
    """A name for this process that `has_ended` understands, on any machine: letters, digits, "_", "-" and ".".

    It holds the host, its namespace of process IDs (containers can share a host's name, but not its processes), a part
    of what its kernel drew when it booted (clones of a virtual machine can share all of these), the process ID, and the
    second in which the process began (IDs are used again).
    """
    pid = os.getpid()
    return f"{_machine()}.{pid}.{_second_of_start(pid)}"


def in_words(owner: str) -> str:
    """ "process 1234 on gpu03"; "another run" if the name says nothing."""
    match = re.fullmatch(r"([^.]+)\..*?(\d+)\.\d+", owner)
    return f"process {match[2]} on {match[1]}" if match else "another run"


def has_ended(owner: str) -> bool:
    """Whether a process is known to have ended. Nothing is known of processes on other machines.

    Args:
        owner: from `this_process`, or any other text, of which nothing is known.
    """
    match = re.fullmatch(r"(.+)\.(\d+)\.(\d+)", owner)
    if match is None or match[1] != _machine():
        return False
    try:
        if psutil.Process(int(match[2])).status() == psutil.STATUS_ZOMBIE:
            return True
        return abs(_second_of_start(int(match[2])) - int(match[3])) > 2  # the clock may have been set meanwhile
    except psutil.NoSuchProcess:
        return True


def _machine() -> str:
    try:
        namespace = str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:  # no Linux
        namespace = "0"
    return f"{re.sub(r'[^A-Za-z0-9-]', '_', socket.gethostname())[:64]}.{namespace}.{_boot()}"


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:  # no Linux
        return "0"


def _second_of_start(pid: int) -> int:
    return int(psutil.Process(pid).create_time())
