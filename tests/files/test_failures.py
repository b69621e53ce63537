"""Notes of why cases failed."""

from __future__ import annotations

import os
import time
from pathlib import Path

from nnunetv2_supervoxel.files.failures import FAILURES, failure_since, failures, forget_failure, note_failure


def test_reasons_are_there_until_the_case_is_done(tmp_path: Path) -> None:
    out = tmp_path / "out"
    note_failure(out, "b", "it is damaged.")
    note_failure(out, "a", "first reason")
    note_failure(out, "a", "second reason: größer")
    assert failures(out) == {"a": "second reason: größer", "b": "it is damaged."}
    forget_failure(out, "a")
    forget_failure(out, "never failed")
    assert failures(out) == {"b": "it is damaged."}
    forget_failure(out, "b")
    assert list(out.iterdir()) == []
    assert failures(out) == {}


def test_only_what_failed_since_counts(tmp_path: Path) -> None:
    note_failure(tmp_path, "a", "why")
    os.utime(tmp_path / FAILURES / "a", (1000, 1000))
    assert failure_since(tmp_path, "a", 999) == "why"
    assert failure_since(tmp_path, "a", 1000) is None
    assert failure_since(tmp_path, "b", 0) is None


def test_a_name_that_is_too_long_is_no_second_failure(tmp_path: Path) -> None:
    note_failure(tmp_path, "n" * 300, f"too long, {time.time()}")
    assert failures(tmp_path) == {}
