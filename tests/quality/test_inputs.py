"""What is evaluated, and the mistakes that are told before anything heavy is imported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.quality.inputs import find_dataset, read_label_names


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Dataset123_Three, preprocessed, with supervoxels of cases a and c; nothing was found in b, d is to be done."""
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    folder = tmp_path / "preprocessed" / "Dataset123_Three"
    for part in ("cases", "cases_supervoxels"):
        (folder / part).mkdir(parents=True)
    for case in "abcd":
        for ending in (".b2nd", "_seg.b2nd", ".pkl"):
            (folder / "cases" / f"{case}{ending}").touch()
    for name in ("a.b2nd", "a.json", "b.json", "c.json", "c.b2nd"):
        (folder / "cases_supervoxels" / name).touch()
    configurations = {"3d_fullres": {"data_identifier": "cases"}, "3d_lowres": {"data_identifier": "lower"}}
    (folder / "nnUNetPlans.json").write_text(json.dumps({"configurations": configurations}))
    (folder / "dataset.json").write_text('{"labels": {"background": 0, "liver": 1, "both": [1, 2], "ignore": 3}}')
    return folder


def find(labels: Path | None = None, configuration: str = "3d_fullres"):
    return find_dataset(123, "nnUNetPlans", configuration, labels)


def test_cases_and_places(dataset: Path) -> None:
    found = find()
    assert (found.name, found.cases, found.label_maps) == ("Dataset123_Three", ("a", "b", "c"), None)
    assert found.supervoxels == dataset / "cases_supervoxels"
    assert found.output(None) == dataset / "cases_supervoxels_evaluation"
    assert found.output(Path("elsewhere")) == Path("elsewhere")
    assert (found.labels.names, found.labels.ignored) == ({0: "background", 1: "liver", 3: "ignore"}, 3)


def test_label_maps_are_found_by_case(dataset: Path, tmp_path: Path) -> None:
    labels = tmp_path / "raw" / "labelsTr"
    labels.mkdir(parents=True)
    for name in ("a.nii.gz", "c.b2nd", "c_seg.b2nd", "d.nii.gz"):
        (labels / name).touch()
    assert find(labels).label_maps == {"a": labels / "a.nii.gz", "c": labels / "c_seg.b2nd"}
    assert find(labels).labels.names == {}
    (labels.parent / "dataset.json").write_text('{"labels": {"background": 0, "spleen": 1}}')
    assert find(labels).labels.names[1] == "spleen"


def test_mistakes(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder .*missing"):
        find(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no label map of a case of Dataset123_Three, such as a\.nii\.gz"):
        find(tmp_path / "empty")
    with pytest.raises(UserError, match=r"no folder .*lower; run nnUNetv2_plan_and_preprocess"):
        find(configuration="3d_lowres")
    (dataset / "lower").mkdir()
    with pytest.raises(UserError, match=r"no preprocessed cases in .*lower; run nnUNetv2_plan_and_preprocess"):
        find(configuration="3d_lowres")
    (dataset / "lower" / "a.b2nd").touch()
    with pytest.raises(
        UserError, match=r"has no supervoxels of preprocessed cases in .*nnUNetv2_supervoxel_generate -d 123"
    ):
        find(configuration="3d_lowres")
    for forbidden in ("cases", "cases_supervoxels"):
        with pytest.raises(UserError, match="nothing but cases"):
            find().output(dataset / "cases" / ".." / forbidden)
    with pytest.raises(UserError, match="is no folder"):
        find().output(dataset / "dataset.json")


def test_a_damaged_dataset_json_is_told(tmp_path: Path) -> None:
    for content in ("{", "{}", '{"labels": [1, 2]}'):
        (tmp_path / "dataset.json").write_text(content)
        with pytest.raises(UserError, match=r"dataset\.json can't be read"):
            read_label_names(tmp_path)
