"""Which processes have ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil

from nnunetv2_supervoxel.files.owners import has_ended, this_process

PRINT = "from nnunetv2_supervoxel.files.owners import this_process; print(this_process())"


def test_a_process_has_ended_when_it_is_gone_or_its_id_is_used_again() -> None:
    mine = this_process()
    assert not has_ended(mine)
    assert all(letter.isalnum() or letter in "_-." for letter in mine)
    *rest, pid, second = mine.split(".")
    assert int(pid) == os.getpid()
    assert has_ended(".".join([*rest, pid, str(int(second) - 100)]))  # an earlier one with this ID
    other = subprocess.run([sys.executable, "-c", PRINT], capture_output=True, text=True, check=True).stdout.strip()
    assert other.split(".")[:2] == mine.split(".")[:2]
    assert has_ended(other)


def test_a_process_that_nobody_has_waited_for_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", PRINT], stdout=subprocess.PIPE, text=True)
    name = child.stdout.read().strip()  # until it ends
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert has_ended(name)
    child.wait()


def test_nothing_is_known_of_other_machines() -> None:
    host, *rest = this_process().split(".")
    ended = [*rest[:1], "999999999", "5"]
    assert has_ended(".".join([host, *ended]))
    assert not has_ended(".".join([f"not-{host}", *ended]))
    assert not has_ended(".".join([host, "123", "999999999", "5"]))  # another container on this host
    assert not has_ended("anything")
