"""Where nnU-Net keeps its datasets, and that a wrong ID is told without PyTorch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.files.nnunet_folders import (
    data_identifier,
    dataset_folder,
    environment_folder,
    trained_checkpoint,
)


@pytest.mark.parametrize("variable", ["nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"])
def test_a_variable_that_is_not_set_is_named(variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "not there yet"))
    assert environment_folder(variable) == tmp_path / "not there yet"
    monkeypatch.delenv(variable)
    with pytest.raises(UserError, match=f"variable {variable} is not set"):
        environment_folder(variable)


def test_a_dataset_is_found_by_its_id_or_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "Dataset123_Some").mkdir()
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(tmp_path))
    for dataset in (123, "123", "Dataset123_Some"):
        assert dataset_folder(dataset) == tmp_path / "Dataset123_Some"
    for dataset, remedy in ((124, "run 'nnUNetv2_plan_and_preprocess -d 124' first"), ("some", "give its ID")):
        with pytest.raises(UserError, match=f"no dataset {dataset} in {tmp_path}; {remedy}"):
            dataset_folder(dataset)
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="which is no folder"):
        dataset_folder(123)


def test_several_datasets_with_one_number_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also if each lies in another of nnU-Net's folders, as nnU-Net refuses that."""
    for variable, name in (("nnUNet_raw", "One"), ("nnUNet_preprocessed", "Two"), ("nnUNet_results", "Two")):
        monkeypatch.setenv(variable, str(tmp_path / variable))
        (tmp_path / variable / f"Dataset004_{name}").mkdir(parents=True)
    told = "Several datasets have the number 4: Dataset004_One, Dataset004_Two; give the name instead"
    with pytest.raises(UserError, match=told):
        dataset_folder(4)
    with pytest.raises(UserError, match=told):
        trained_checkpoint("4", "trainer", "plans", "3d_fullres", "0")
    assert dataset_folder("Dataset004_Two") == tmp_path / "nnUNet_preprocessed" / "Dataset004_Two"


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, nnunetv2_supervoxel.files.nnunet_folders;"
        "sys.exit(any(heavy in sys.modules for heavy in ('torch', 'SimpleITK', 'blosc2')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_configuration_may_inherit_the_folder_of_its_cases() -> None:
    plans = {
        "configurations": {
            "3d_fullres": {"data_identifier": "plans_3d_fullres"},
            "3d_wide": {"inherits_from": "3d_tiny"},
            "3d_tiny": {"inherits_from": "3d_fullres"},
            "round": {"inherits_from": "round"},
        }
    }
    assert data_identifier(plans, "3d_fullres") == data_identifier(plans, "3d_wide") == "plans_3d_fullres"
    with pytest.raises(UserError, match="configuration 'round' has no data_identifier"):
        data_identifier(plans, "round")
