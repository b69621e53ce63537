"""What became of a case."""

from __future__ import annotations

import json
from pathlib import Path

from nnunetv2_supervoxel import CaseReport, SupervoxelGenerator
from nnunetv2_supervoxel.runners.reports import differing_settings


def test_other_weights_are_other_settings_and_newer_settings_had_their_default(
    generated: Path, brain_generator: SupervoxelGenerator
) -> None:
    now = brain_generator.provenance
    before = json.loads((generated / "brain_00.json").read_text())
    assert differing_settings(before, now) == []
    # As written before axes, and pairs of percentiles, were lists.
    before["config"] |= {"axis": 0, "sam1_checkpoint": "/the/same/file", "intensity_percentiles": [0.5, 99.5]}
    del before["config"]["max_track_growth"]
    assert differing_settings(before, now) == []
    alone = now | {"checkpoints": {"sam2": now["checkpoints"]["sam2"]}}
    assert differing_settings(before, alone) == ["sam1_checkpoint"]  # SAM 2 proposes, too
    before["checkpoints"]["sam2"]["sha256"] = "0" * 64
    before["config"]["unknown"] = 1  # by a version to come
    assert "sam2_checkpoint" in differing_settings(before, now)
    assert differing_settings({"made by": "SLIC"}, now) == []


def test_reports_are_plain_values() -> None:
    assert CaseReport("a", "made", 3, 10, 1.5).message == ""
