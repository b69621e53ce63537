"""What the page says of one case."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_supervoxel.pages.entries import CaseToShow, cases_to_show, missing
from nnunetv2_supervoxel.quality.inputs import EvaluatedDataset, find_dataset
from nnunetv2_supervoxel.quality.reading import read_supervoxels

SHAPE, VOXEL_MM3 = (12, 40, 58), 2.5 * 0.7 * 0.9


def of_changed(case: str) -> CaseToShow:
    """A case of Dataset985_Changed."""
    dataset = find_dataset(985, "nnUNetPlans", "3d_fullres", None)
    return next(one for one in cases_to_show(dataset, (0, 1, 2)) if one.case.name == case)


def test_a_case_is_described_as_evaluation_describes_it(
    cases: dict[str, CaseToShow], dataset: EvaluatedDataset
) -> None:
    entry = cases["a1"].evaluate()
    evaluated = cases["a1"].case.evaluate()
    assert entry.status == "done"
    assert entry.figures.description == evaluated.description
    voxels = [one.voxels for one in read_supervoxels(dataset.supervoxels, "a1", SHAPE).supervoxels]
    assert len(voxels) > 3
    assert entry.numbers["supervoxels"] == len(voxels)
    assert entry.numbers["volume"] == pytest.approx(np.median(voxels) * VOXEL_MM3)
    assert entry.numbers["predicted_iou"] == pytest.approx(0.9)
    assert entry.numbers["consistency"] == pytest.approx(0.7)
    assert entry.volume_share == max(voxels) / np.prod(SHAPE)
    assert entry.made_by["config"]["keyframes"] == 6
    assert entry.notes == ()
    assert cases["a2"].evaluate().notes == ("12 voxels are NaN or infinite",)
    assert entry.thumbnail[:4] == b"RIFF"


def test_a_case_can_be_sent_to_another_process(cases: dict[str, CaseToShow]) -> None:
    sent = pickle.loads(pickle.dumps(cases["a1"]))
    assert pickle.loads(pickle.dumps(sent.evaluate())) == cases["a1"].evaluate()


def test_a_case_that_keeps_its_voxel_size_lies_in_it(folder: Path) -> None:
    """Not in the plans'. Preprocessing swapped the first two axes."""
    path = folder / "cases" / "a1.pkl"
    path.write_bytes(pickle.dumps(pickle.loads(path.read_bytes()) | {"spacing": (0.6, 1.1, 4.0)}))
    shown = of_changed("a1")
    located = replace(shown.case.located, own_spacing=(1, 0, 2))
    assert replace(shown, case=replace(shown.case, located=located)).read()[2].spacing == (1.1, 0.6, 4.0)


def test_an_empty_case_has_a_picture_and_no_supervoxels(cases: dict[str, CaseToShow]) -> None:
    entry = cases["empty"].evaluate()
    assert entry.status == "empty"
    assert entry.numbers["supervoxels"] == 0
    assert math.isnan(entry.numbers["volume"])
    assert entry.thumbnail


def test_a_damaged_case_says_why(cases: dict[str, CaseToShow]) -> None:
    entry = cases["damaged"].evaluate()
    assert entry.status == "failed"
    assert "damaged" in entry.figures.error
    assert "--overwrite" in entry.figures.error
    assert entry.numbers == {}
    assert entry.thumbnail == b""


@pytest.mark.parametrize("content", ["[1, 2]", "{}", '{"n": 1'])
def test_a_json_of_something_else(folder: Path, content: str) -> None:
    (folder / "cases_supervoxels" / "a1.json").write_text(content)
    entry = of_changed("a1").evaluate()
    assert entry.status == "failed"
    assert "please report" not in entry.figures.error


def test_scores_that_nobody_gave(folder: Path) -> None:
    path = folder / "cases_supervoxels" / "a1.json"
    content = json.loads(path.read_text())
    for one in content["supervoxels"]:
        one |= {"predicted_iou": None, "consistency": None}
    path.write_text(json.dumps(content))
    entry = of_changed("a1").evaluate()
    assert entry.status == "done"
    assert math.isnan(entry.numbers["predicted_iou"])
    assert entry.consistency == ()


def test_a_case_whose_image_is_gone(cases: dict[str, CaseToShow]) -> None:
    gone = replace(cases["a1"], case=replace(cases["a1"].case, name="gone"))
    assert gone.evaluate().status == "failed"


def test_a_missing_case() -> None:
    entry = missing("Dataset987_Pages", "b", "it was too large")
    assert (entry.status, entry.figures.error, entry.numbers) == ("missing", "it was too large", {})
