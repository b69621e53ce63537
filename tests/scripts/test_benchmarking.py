"""What the benchmarks share, in scripts/benchmarking."""

import importlib
import json
import os
import time
from pathlib import Path

import pytest


@pytest.fixture
def shared(monkeypatch):
    """Import one of its modules: `shared("clock")`."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "scripts")
    return lambda name: importlib.import_module(f"benchmarking.{name}")


def test_a_clock_keeps_the_times_of_every_stage(shared):
    clock = shared("clock").Clock()
    for seconds in (0.01, 0.03, 0.02):
        with clock("sleeping"):
            time.sleep(seconds)
    with clock("nothing"):
        pass

    assert list(clock.times) == ["sleeping", "nothing"]
    assert 0.02 <= clock.median("sleeping") < sum(clock.times["sleeping"]) == clock.total("sleeping")
    assert clock.total("never ran") == 0
    clock.restart()
    assert not clock.times


def test_figures_are_a_table_and_the_same_as_json(shared, tmp_path, capsys):
    report = shared("report")
    rows = [
        report.compared("reading, ms", 0.5, 0.0625, 8.0, "same voxels", ">= 5", True),
        report.compared("writing, ms", 250.0, 500.0, 0.5, "same", ">= 1", False),
        report.compared("share", None, None, 0.125, "", None, None),
    ]

    report.report(rows, {"seed": 3}, tmp_path / "figures.json")

    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["measured", "usual", "ours", "ratio", "goal", "reached", "agreement"],
        ["reading,", "ms", "0.5", "0.0625", "8", ">=", "5", "yes", "same", "voxels"],
        ["writing,", "ms", "250", "500", "0.5", ">=", "1", "NO", "same"],
        ["share", "-", "-", "0.125", "-", "-"],
    ]
    written = json.loads((tmp_path / "figures.json").read_text())
    assert (written["rows"], written["settings"]) == (rows, {"seed": 3})
    assert written["machine"]["cores"] == os.cpu_count()


def test_another_process_is_quiet_and_sends_its_result_back(shared, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    in_own_process = shared("processes").in_own_process
    assert in_own_process(os.getpid) != os.getpid()
    assert in_own_process(os.getenv, "TQDM_DISABLE") == "1"
    assert os.getenv("TQDM_DISABLE") is None


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux counts it so")
def test_memory_is_counted_beyond_what_was_there_at_first(shared):
    peak = shared("processes").MemoryPeak()
    bytearray(100_000_000)[:] = b"\1" * 100_000_000
    assert peak.bytes() > 150e6
    peak.restart()
    assert peak.bytes() < 100e6
