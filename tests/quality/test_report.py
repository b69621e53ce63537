"""What is printed and written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.quality.description import Description
from nnunetv2_supervoxel.quality.figures import CaseFigures, StructureFigures
from nnunetv2_supervoxel.quality.inputs import EvaluatedDataset, LabelNames
from nnunetv2_supervoxel.quality.measures import STRUCTURE_MEASURES
from nnunetv2_supervoxel.quality.report import tables, write_report

NAN = float("nan")
MEASURES = dict(zip(STRUCTURE_MEASURES, (0.25, 0.5, 0.0, 0.75, NAN), strict=True))


def dataset(name: str, cases: tuple[str, ...]) -> EvaluatedDataset:
    return EvaluatedDataset(
        "nnUNetPlans", "3d_fullres", Path(name), "cases", cases, (), (), None, LabelNames({1: "liver"})
    )


@pytest.fixture
def evaluated() -> tuple[list[EvaluatedDataset], list[CaseFigures]]:
    described = Description(voxels=(10, 30), slices=(2, 4), coverage=0.125, overlap=NAN, duplicates=1)
    structures = (StructureFigures(1, 0, 50, MEASURES), StructureFigures(2, 1, 20, MEASURES))
    figures = [
        CaseFigures("Dataset001_A", "a", 1.5, described, structures),
        CaseFigures("Dataset001_A", "b", error="it is damaged"),
        CaseFigures("Dataset002_B", "c", error="so is this"),
    ]
    return [dataset("Dataset001_A", ("a", "b")), dataset("Dataset002_B", ("c",))], figures


def lines(text: str) -> dict[str, list[str]]:
    """Cells by the first one, of lines whose cells are two spaces apart."""
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines() if line]
    return {first: others for first, *others in cells}


def test_the_tables(evaluated) -> None:
    found = lines(tables(*evaluated))
    assert found["cases"] == ["1 (1 more failed)", "0 (1 more failed)"]
    assert found["supervoxels per case: mean (range)"] == ["2.0 (2 to 2)", "- (- to -)"]
    assert found["volume of a supervoxel, mm³: 50th percentile"] == ["30", "-"]
    assert found["foreground covered"] == ["12.5%", "-"]
    assert found["supervoxels on a covered voxel"] == ["-", "-"]
    assert found["duplicates (IoU of 0.9 or more with an earlier one)"] == ["50.0%", "-"]
    assert found["liver"] == ["1", "0.250", "0.500", "0.000", "0.750", "-"]
    assert found["label 2, components"] == ["1", "0.250", "0.500", "0.000", "0.750", "-"]
    assert found["label 2"] == ["0", "-", "-", "-", "-", "-"]


def test_the_files(evaluated, tmp_path) -> None:
    write_report(tmp_path / "new" / "folder", *evaluated)
    with open(tmp_path / "new" / "folder" / "cases.csv", newline="") as file:
        cases = {row["case"]: row for row in csv.DictReader(file)}
    assert list(cases) == ["a", "b", "c"]
    assert (cases["a"]["volume_mm3_percentile_50"], cases["a"]["overlap"], cases["a"]["error"]) == ("30.0", "", "")
    assert (cases["c"]["dataset"], cases["c"]["supervoxels"], cases["c"]["error"]) == ("Dataset002_B", "", "so is this")
    with open(tmp_path / "new" / "folder" / "structures.csv", newline="") as file:
        structures = list(csv.DictReader(file))
    assert [(row["name"], row["component"], row["volume_mm3"]) for row in structures] == [
        ("liver", "whole", "75.0"),
        ("label 2", "1", "30.0"),
    ]
    content = json.loads((tmp_path / "new" / "folder" / "summary.json").read_text())
    first, second = content["datasets"]
    assert first["summary"]["slices"] == {"median": 3, "min": 2, "max": 4}
    assert first["labels"][0]["measures"] == MEASURES | {"undersegmentation_error": None}
    assert second["cases"] == [json.loads(json.dumps(second["cases"][0])) | {"case": "c", "error": "so is this"}]


def test_datasets_that_are_not_reported_are_left_out(evaluated, tmp_path) -> None:
    datasets, figures = evaluated
    write_report(tmp_path, datasets[1:], figures)
    assert (tmp_path / "cases.csv").read_text().splitlines() == ["dataset,case,error", "Dataset002_B,c,so is this"]
    assert (tmp_path / "structures.csv").read_text().splitlines() == ["dataset,case,label"]


def test_a_folder_that_can_not_be_written_is_told(evaluated, tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"results can't be written to .*file/folder: Not a directory"):
        write_report(tmp_path / "file" / "folder", *evaluated)
