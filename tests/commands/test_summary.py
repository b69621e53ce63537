"""What commands print at the end."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from nnunetv2_supervoxel import CaseReport
from nnunetv2_supervoxel.commands.summary import RunSummary, Tally
from nnunetv2_supervoxel.errors import NotWritableError, UserError
from nnunetv2_supervoxel.runners.cases import Case, Run
from nnunetv2_supervoxel.runners.generate import Job
from nnunetv2_supervoxel.runners.stopping import Stopped


def tally() -> Tally:
    return Tally(lambda done, failed: f"{done} done, {failed} failed")


def test_failures_are_named_and_all_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with tally() as counts:
        counts.add("a")
        counts.add("b", "it is damaged")
        counts.add("c")
    assert counts.exit_code == 1
    assert capsys.readouterr() == ("2 done, 1 failed\n", "b failed: it is damaged\n")


@pytest.mark.parametrize("end", [Stopped(), NotWritableError(Path("out"), "there is no space left")])
def test_what_was_done_before_the_end_is_counted(end: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    counts = tally()
    counts.add("a")
    with pytest.raises(type(end)), counts:
        raise end
    assert counts.exit_code == 0
    assert capsys.readouterr().out == "1 done, 0 failed\n"


def test_a_mistake_at_the_beginning_has_nothing_to_count(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError), tally():
        raise UserError("no folder")
    assert capsys.readouterr() == ("", "")


def test_cases_of_several_datasets_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, log = tmp_path / "table.csv", tmp_path / "log.jsonl"
    with RunSummary([], table, log) as summary:
        summary.add(CaseReport("a", "failed", message="it is damaged.", dataset="Dataset004_Liver"))
        summary.add(CaseReport("a", "made", 3, dataset="Dataset005_Prostate"))
    assert summary.exit_code == 1
    assert capsys.readouterr().err == "  Dataset004_Liver, a: it is damaged.\n"
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for found in (rows, lines):
        assert [(row["dataset"], row["case"], row["status"]) for row in found] == [
            ("Dataset004_Liver", "a", "failed"),
            ("Dataset005_Prostate", "a", "made"),
        ]
    with RunSummary([], None, None) as summary:
        summary.add(CaseReport("a", "failed", message="it is damaged.", dataset="Dataset004_Liver"))
    assert capsys.readouterr().err == "  a: it is damaged.\n"


def test_what_a_stopped_run_did_not_reach_is_counted_and_the_folder_named(capsys: pytest.CaptureFixture[str]) -> None:
    cases = [Case(name=name, channels=(0,), target=Path("/out")) for name in "abc"]
    jobs = [Job("scans", cases[:2], Run()), Job("more", cases[2:], Run())]
    summary, stop = RunSummary(jobs, None, None), Stopped()
    summary.add(CaseReport("a", "made", 3))
    with pytest.raises(Stopped), summary:
        raise stop
    words = "1 made, 0 kept, 0 without supervoxels, 0 failed; 3 supervoxels in all, in /out.\n"
    assert capsys.readouterr().out == f"1 of 3 cases: {words}"
    with RunSummary(jobs[1:], None, None) as summary:
        summary.add(CaseReport("c", "empty"))
    assert capsys.readouterr().out == (
        "1 cases: 0 made, 0 kept, 1 without supervoxels, 0 failed; 0 supervoxels in all.\n"
    )
