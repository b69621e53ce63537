"""Claims: each case is done by one run, and by another if that one is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nnunetv2_supervoxel.errors import NotWritableError
from nnunetv2_supervoxel.files import claims
from nnunetv2_supervoxel.files.claims import (
    CLAIMS,
    claimed,
    folder_clock,
    is_claimed,
    living_claims,
    remove_claim,
    remove_void_claims,
)
from nnunetv2_supervoxel.files.owners import this_process

ELSEWHERE = "otherhost.4026531836.77.1700000000"  # of which nothing is known here


def write_claim(folder: Path, case: str, owner: str, age: float = 0.0) -> Path:
    path = folder / CLAIMS / case
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"owner": owner, "since": 1.0, "run_began": 0.5}))
    os.utime(path, (time.time() - age,) * 2)
    return path


def ended_process() -> str:
    """The name of a process that isn't there any more."""
    code = "from nnunetv2_supervoxel.files.owners import this_process; print(this_process())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_claimed_case_is_nobody_elses_until_it_is_released(tmp_path: Path) -> None:
    with claimed(tmp_path / "out", "a", run_began=5.0) as first, claimed(tmp_path / "out", "a") as second:
        assert first
        assert second is None
        assert is_claimed(tmp_path / "out", "a")
        assert not is_claimed(tmp_path / "out", "b")
        claim = living_claims(tmp_path / "out")["a"]
        assert claim.owner == this_process()
        assert claim.run_began == 5.0
        assert abs(claim.since - time.time()) < 60
        with claimed(tmp_path / "out", "b") as other:
            assert other
    assert list((tmp_path / "out").iterdir()) == []
    with claimed(tmp_path / "out", "a") as again:
        assert again


def test_a_claim_is_released_when_the_case_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claimed(tmp_path, "a"):
        raise ZeroDivisionError
    assert not is_claimed(tmp_path, "a")


def test_only_one_of_many_gets_a_case(tmp_path: Path) -> None:
    """Also where all of them take over a claim whose owner has ended, and the folder comes and goes."""
    dead = ended_process()
    for number in range(20):
        if number % 2:
            write_claim(tmp_path, "case", dead)
        start, end = threading.Barrier(8), threading.Barrier(8)

        def attempt(start: threading.Barrier = start, end: threading.Barrier = end) -> bool:
            start.wait()
            with claimed(tmp_path, "case") as got:
                end.wait()
            return got is not None

        with ThreadPoolExecutor(8) as pool:
            got = [future.result() for future in [pool.submit(attempt) for _ in range(8)]]
        assert sum(got) == 1
        assert not (tmp_path / CLAIMS).exists()


@pytest.mark.parametrize(
    ("owner", "age", "void"),
    [
        ("ended", 0, True),
        ("this", 0, False),
        (ELSEWHERE, 0, False),
        (ELSEWHERE, 100, False),
        (ELSEWHERE, 400, True),
        ("", 0, False),  # being written
        ("", 400, True),
    ],
)
def test_claims_of_the_dead_and_of_those_not_heard_of_are_void(
    owner: str, age: float, void: bool, tmp_path: Path
) -> None:
    name = {"ended": ended_process, "this": this_process}.get(owner, lambda: owner)()
    path = write_claim(tmp_path, "a", name, age)
    assert is_claimed(tmp_path, "a") is not void
    assert list(living_claims(tmp_path)) == ([] if void else ["a"])
    with claimed(tmp_path, "a") as got:
        assert (got is not None) is void
    assert path.exists() is not void
    remove_void_claims(tmp_path)
    assert path.exists() is not void


def test_a_run_that_was_killed_while_it_took_over_is_in_nobodys_way(tmp_path: Path) -> None:
    void, beside = write_claim(tmp_path, "a", ended_process()), write_claim(tmp_path, ".a", ended_process())
    with claimed(tmp_path, "a") as got:
        assert not got  # but the way is free now
    assert not beside.exists()
    with claimed(tmp_path, "a") as got:
        assert got
    assert not void.exists()
    write_claim(tmp_path, ".a", ended_process())
    write_claim(tmp_path, ".b", this_process())
    remove_void_claims(tmp_path)
    assert [path.name for path in (tmp_path / CLAIMS).iterdir()] == [".b"]


def test_deaths_are_counted_until_somebody_ends_in_order(tmp_path: Path) -> None:
    """Older claims say nothing of deaths."""
    path = write_claim(tmp_path, "a", ended_process())
    for deaths in (1, 2):
        with claimed(tmp_path, "a") as claim:
            assert claim.deaths == deaths
            left = path.read_text()
        path.parent.mkdir()
        path.write_text(left.replace(this_process(), ended_process()))  # as if this one had been killed
    with claimed(tmp_path, "a") as claim:
        assert claim.deaths == 3
    with claimed(tmp_path, "a") as claim:
        assert claim.deaths == 0


def test_void_claims_of_cases_that_are_to_be_taken_over_stay(tmp_path: Path) -> None:
    for case in ("done", "to do"):
        write_claim(tmp_path, case, ended_process())
    remove_void_claims(tmp_path, is_over=lambda case: case == "done")
    assert [path.name for path in (tmp_path / CLAIMS).iterdir()] == ["to do"]


def test_the_claim_of_a_process_that_has_ended_elsewhere_can_be_removed(tmp_path: Path) -> None:
    write_claim(tmp_path, "a", ELSEWHERE)
    for _ in range(2):
        remove_claim(tmp_path, "a")
        assert list(tmp_path.iterdir()) == []


def test_the_timeout_decides(tmp_path: Path) -> None:
    write_claim(tmp_path, "a", ELSEWHERE, age=20)
    assert is_claimed(tmp_path, "a", timeout=30)
    assert not is_claimed(tmp_path, "a", timeout=10)


@pytest.mark.parametrize("timeout", [1.0, 1e6])
def test_an_owner_gives_signs_of_life(timeout: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Often enough for others, too, which may have another timeout."""
    monkeypatch.setattr(claims, "CLAIM_TIMEOUT", 2.0)
    with claimed(tmp_path, "a", timeout=timeout):
        path = tmp_path / CLAIMS / "a"
        os.utime(path, (0, 0))
        until = time.monotonic() + 20
        while path.stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.02)
        assert time.time() - path.stat().st_mtime < 20


def test_a_claim_that_was_taken_over_stays_with_the_new_owner(tmp_path: Path) -> None:
    """As after a laptop's sleep: the first owner goes on, and must not release what isn't its own any more."""
    with claimed(tmp_path, "a"):
        taken = write_claim(tmp_path, "a", ELSEWHERE)
    assert json.loads(taken.read_text())["owner"] == ELSEWHERE


def test_the_clock_is_the_files(tmp_path: Path) -> None:
    before = folder_clock(tmp_path)
    (tmp_path / "file").touch()
    assert before <= (tmp_path / "file").stat().st_mtime <= folder_clock(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(NotWritableError, match="missing"):
        folder_clock(tmp_path / "missing")
