"""scripts/benchmark_gpu.py without a GPU: each part gives its figures, and what was measured is kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark_gpu.py"


def benchmark(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300
    )


def test_the_parts_measure(tmp_path: Path) -> None:
    parts = ("masks", "propagation", "proposals", "memory")
    done = benchmark("--device", "cpu", "--quick", "--parts", *parts, "--json", tmp_path / "figures.json")
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["settings"] == {"device": "CPU", "quick": True}
    by_name = {row["measured"]: row for row in figures["rows"]}
    assert {row["part"] for row in figures["rows"]} == set(parts)
    exact, rounded = (by_name[f"least Dice of 4 objects with the CPU's, {p}"] for p in ("float32", "bfloat16"))
    assert (exact["ours"], exact["ok"]) == (1.0, "yes")
    assert 0.8 < rounded["ours"] < 1
    for objects in (1, 3):
        row = by_name[f"propagation, {objects} objects, ms per slice and object"]
        assert row["ratio"] == pytest.approx(row["other"] / row["ours"])
    assert 0 < by_name["image encoder as it is, share of the matrix rate"]["ours"] < 1
    stages = [row["ours"] for name, row in by_name.items() if name.endswith(", s")]
    assert sum(stages[:-1]) == pytest.approx(stages[-1])
    assert "masks" in done.stdout


def test_a_part_that_takes_too_long_is_cut_and_said(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = benchmark("--device", "cpu", "--quick", "--parts", "memory", "--limit", 0.2, "--json", figures)
    assert done.returncode == 1
    assert done.stderr == "Error: something isn't as it should be; see the rows with NO.\n"
    [row] = json.loads(figures.read_text())["rows"]
    assert (row["part"], row["measured"], row["ok"]) == ("memory", "cut after 0.2 s", "NO")


def test_no_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = benchmark()
    assert done.returncode == 2
    assert "PyTorch sees no CUDA device here" in done.stderr
