"""What all commands do with errors."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.commands.entry_point import ALL_OR_NOTHING, BEGINS_ANEW, GOES_ON, entry_point, stops_with
from nnunetv2_supervoxel.runners.stopping import Stopped


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("x is wrong; mend it."), 1, "Error: x is wrong; mend it.\n"),
        (
            KeyboardInterrupt(),
            130,
            "Stopped by SIGINT; what was finished is kept, the same command goes on from there.\n",
        ),
        (
            Stopped(signal.SIGTERM),
            143,
            "Stopped by SIGTERM; what was finished is kept, the same command goes on from there.\n",
        ),
    ],
)
def test_mistakes_and_ctrl_c_are_a_line_and_a_code(error, code, line, capsys):
    @entry_point(GOES_ON)
    def command():
        raise error

    assert command() == code
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize("words", [ALL_OR_NOTHING, BEGINS_ANEW])
def test_what_a_stopped_command_leaves_is_said(words, capsys):
    @entry_point(words)
    def command():
        raise Stopped(signal.SIGTERM)

    assert command() == 143
    assert capsys.readouterr().err == f"Stopped by SIGTERM; {words}.\n"


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Stopped(signal.SIGINT)])
def test_a_part_of_a_command_has_words_of_its_own(stop, capsys):
    @entry_point(GOES_ON)
    def command():
        with stops_with(words):
            raise stop

    words = "it starts over"
    assert command() == 130
    assert capsys.readouterr().err == "Stopped by SIGINT; it starts over.\n"
    words = ""
    assert command() == 130
    assert capsys.readouterr().err.endswith("; what was finished is kept, the same command goes on from there.\n")


def test_anything_else_keeps_its_traceback():
    @entry_point(GOES_ON)
    def command():
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        command()


# A command whose thread works on for a minute, and that takes a second to clean up.
COMMAND = """
import threading, time
from nnunetv2_supervoxel.commands.entry_point import GOES_ON, entry_point

@entry_point(GOES_ON)
def command():
    threading.Thread(target=time.sleep, args=(60,)).start()
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("cleaning up", flush=True)
        time.sleep(CLEANING)
        print("clean", flush=True)

exit(command())
"""


def run_command(cleaning: float) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND.replace("CLEANING", str(cleaning))],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # jobs in a shell's background ignore it
    )
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_lets_a_command_clean_up_and_waits_for_no_thread(name: str) -> None:
    process = run_command(cleaning=0.2)
    number = getattr(signal, name)
    os.kill(process.pid, number)
    assert process.stdout.readline() == "cleaning up\n"
    os.kill(process.pid, number)  # schedulers send it to the process, and again to its group
    assert process.communicate(timeout=20)[0] == "clean\n"
    assert process.returncode == 128 + number


def test_a_second_signal_ends_a_command_at_once() -> None:
    process = run_command(cleaning=60)
    os.kill(process.pid, signal.SIGUSR1)
    assert process.stdout.readline() == "cleaning up\n"
    time.sleep(1.2)
    os.kill(process.pid, signal.SIGTERM)
    assert process.communicate(timeout=20)[0] == ""
    assert process.returncode == -signal.SIGTERM


def test_signals_that_are_ignored_stay_so_and_handlers_come_back() -> None:
    """A shell starts background jobs with SIGINT ignored."""
    seen = []

    @entry_point(GOES_ON)
    def command() -> int:
        seen.extend(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM))
        return 0

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        command()
        assert seen[0] == signal.SIG_IGN
        assert seen[1] != signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)
