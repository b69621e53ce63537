"""Commands in this process, and the traps that bad inputs must not spring."""

from __future__ import annotations

import gc
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from bad_inputs.bad_files import CANARY, Done, write_dataset


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


@pytest.fixture
def dataset(nnunet_folders: dict[str, str]) -> Iterator[Path]:
    """Dataset994_Bad in $nnUNet_preprocessed: plans, and two sound preprocessed cases, "other" and "sound"."""
    folder = Path(nnunet_folders["nnUNet_preprocessed"]) / "Dataset994_Bad"
    write_dataset(folder)
    yield folder
    for path in folder.parent.glob("Dataset994_*"):
        shutil.rmtree(path)


@pytest.fixture
def slic(tmp_path: Path) -> Path:
    """A config without models."""
    path = tmp_path / "slic.yaml"
    path.write_text("method: slic\nmasks_per_image: 4\n")
    return path
