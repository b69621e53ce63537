"""Commands in this process, and the traps that bad inputs must not spring."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from bad_inputs.bad_files import CANARY, Done


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run a command: `call("nnUNetv2_supervoxel_generate", "-d", 994)`. What users must never read is looked for."""

    def run(command: str, *arguments: object) -> Done:
        [entry] = entry_points(group="console_scripts", name=command)
        monkeypatch.setattr(sys, "argv", [command, *map(str, arguments)])
        capfd.readouterr()
        try:
            code = entry.load()()
        except SystemExit as end:  # argparse
            code = end.code
        done = Done(code, *capfd.readouterr())
        for never in ("Traceback", "please report", "returned NULL", "ITK ERROR"):
            assert never not in done.said
        assert not re.search(r"0x[0-9a-f]{6}", done.said)
        return done

    return run


@pytest.fixture(autouse=True)
def canary(tmp_path: Path) -> Iterator[Path]:
    """What malicious files make if their code runs."""
    path = tmp_path / CANARY
    yield path
    assert not list(tmp_path.glob(f"{CANARY}*")), "code from a file was run"


@pytest.fixture(scope="module", autouse=True)
def _quick_collection() -> Iterator[None]:
    """Commands collect garbage after every case. What was imported before takes no time then."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
