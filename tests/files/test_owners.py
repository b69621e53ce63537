"""Which processes have ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest

from nnunetv2_supervoxel.files.owners import has_ended, in_words, this_process

PRINT = "from nnunetv2_supervoxel.files.owners import this_process; print(this_process())"


def test_a_process_has_ended_when_it_is_gone_or_its_id_is_used_again() -> None:
    mine = this_process()
    assert not has_ended(mine)
    assert all(letter.isalnum() or letter in "_-." for letter in mine)
    *rest, pid, second = mine.split(".")
    assert int(pid) == os.getpid()
    assert has_ended(".".join([*rest, pid, str(int(second) - 100)]))  # an earlier one with this ID
    other = subprocess.run([sys.executable, "-c", PRINT], capture_output=True, text=True, check=True).stdout.strip()
    assert other.split(".")[:3] == mine.split(".")[:3]
    assert has_ended(other)


def test_a_process_that_nobody_has_waited_for_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", PRINT], stdout=subprocess.PIPE, text=True)
    name = child.stdout.read().strip()  # until it ends
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert has_ended(name)
    child.wait()


def test_nothing_is_known_of_other_machines() -> None:
    host, namespace, boot, *_ = this_process().split(".")
    ended = ["999999999", "5"]
    assert has_ended(".".join([host, namespace, boot, *ended]))
    assert not has_ended(".".join([f"not-{host}", namespace, boot, *ended]))
    assert not has_ended(".".join([host, "123", boot, *ended]))  # another container on this host
    assert not has_ended(".".join([host, namespace, "0a1b2c3d", *ended]))  # a clone of this machine
    assert not has_ended(".".join([host, namespace, *ended]))  # of an earlier version
    assert not has_ended("anything")


@pytest.mark.parametrize(
    ("owner", "words"),
    [
        ("gpu-03.4026531836.0a1b2c3d.1234.1700000000", "process 1234 on gpu-03"),
        ("gpu-03.4026531836.1234.1700000000", "process 1234 on gpu-03"),  # of an earlier version
        ("anything", "another run"),
        ("", "another run"),
    ],
)
def test_owners_in_words(owner: str, words: str) -> None:
    assert in_words(owner) == words
