"""How far a folder of supervoxels is."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.files.claims import CLAIMS, claimed
from nnunetv2_supervoxel.files.failures import note_failure
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet
from nnunetv2_supervoxel.runners.status import find_status

SHAPE = (3, 4, 5)


def make(folder: Path, case: str, n: int, age: float = 0.0) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[0, 0, :n] = np.arange(1, n + 1)
    supervoxel_files.write_case(folder, case, SupervoxelSet.of_labels(labels), {})
    written = time.time() - age
    os.utime(folder / f"{case}.json", (written, written))


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    status = find_status(tmp_path / "missing", ["a", "b"])
    assert (status.supervoxels, status.running, status.failed, status.left) == ({}, {}, {}, 2)
    assert status.seconds_left is None


def test_done_running_failed_and_left(tmp_path: Path) -> None:
    for case, n in {"a": 3, "b": 2, "empty": 0, "of another dataset": 5}.items():
        make(tmp_path, case, n)
    note_failure(tmp_path, "failed", "why")
    note_failure(tmp_path, "tried again", "why not")
    (tmp_path / "half.json").write_text('{"n": 1}')
    with claimed(tmp_path, "now", run_began=1.0), claimed(tmp_path, "tried again", run_began=2.0):
        stale = tmp_path / CLAIMS / "left by a killed run"
        stale.write_text(json.dumps({"owner": "otherhost.1.2.3", "since": 0, "run_began": 0}))
        os.utime(stale, (0, 0))
        cases = ["a", "b", "empty", "failed", "half", "left by a killed run", "now", "tried again", "z"]
        status = find_status(tmp_path, cases)
    assert status.supervoxels == {"a": 3, "b": 2, "empty": 0}
    assert {case: claim.run_began for case, claim in status.running.items()} == {"now": 1.0, "tried again": 2.0}
    assert status.failed == {"failed": "why"}
    assert status.left == 3  # half, left by a killed run, z


def test_a_run_that_makes_supervoxels_anew(tmp_path: Path) -> None:
    """Old files don't hide that a case is being done, or has failed."""
    now = time.time()
    for case, age in {"a": 5000, "b": 4000, "c": 4000, "new": 10}.items():
        make(tmp_path, case, 2, age)
    note_failure(tmp_path, "c", "it couldn't be made anew")
    note_failure(tmp_path, "new", "it failed before it was made")
    os.utime(tmp_path / ".failed" / "new", (now - 900,) * 2)
    cases = ["a", "b", "c", "new", "z"]
    with claimed(tmp_path, "a", run_began=now - 100):
        status = find_status(tmp_path, cases)
        assert status.supervoxels == {"b": 2, "new": 2}
        assert list(status.running) == ["a"]
        assert status.failed == {"c": "it couldn't be made anew"}
        assert (status.left, status.older) == (1, 1)
        assert status.seconds_left == pytest.approx(3 / status.cases_per_second)  # z, b, and a
    status = find_status(tmp_path, cases)
    assert (sorted(status.supervoxels), status.older, list(status.failed)) == (["a", "b", "new"], 0, ["c"])
    with claimed(tmp_path, "z", run_began=now - 100):
        assert find_status(tmp_path, cases).older == 0


def test_half_a_case_that_is_done_now_is_not_made_anew(tmp_path: Path) -> None:
    for case in ("whole", "half"):
        make(tmp_path, case, 2, age=5000)
    (tmp_path / "half.b2nd").unlink()
    with claimed(tmp_path, "half", run_began=time.time() - 100):
        status = find_status(tmp_path, ["whole", "half"])
    assert (status.supervoxels, list(status.running), status.older) == ({"whole": 2}, ["half"], 0)


def test_time_left_by_what_was_done_since_the_runs_began(tmp_path: Path) -> None:
    for number, age in enumerate((10, 50, 90, 5000)):  # the last one is older than the run
        make(tmp_path, f"case{number}", 1, age)
    cases = [f"case{number}" for number in range(10)]
    with claimed(tmp_path, "case4", run_began=time.time() - 100):
        status = find_status(tmp_path, cases)
    assert status.cases_per_second == pytest.approx(3 / 100, rel=0.3)
    assert status.seconds_left == pytest.approx(6 / status.cases_per_second)
    assert find_status(tmp_path, cases).seconds_left is None  # nothing is at work
