"""Whole datasets and folders, on the MNI152 brain."""

from __future__ import annotations

import json
import os
from pathlib import Path

import blosc2
import numpy as np
import pytest

from nnunetv2_supervoxel import SupervoxelGenerator, generate_dataset, generate_folder
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.runners.serial import SerialRunner


def contents(folder: Path, ending: str = "") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name.endswith(ending)}


def test_every_case_gets_its_triple(preprocessed: Path, generated: Path) -> None:
    cases = ["brain_00", "brain_01", "brain_02"]
    assert sorted(os.listdir(generated)) == sorted(
        f"{case}{end}" for case in cases for end in (".b2nd", ".pkl", ".json")
    )
    for case in cases:
        image = blosc2.open(str(preprocessed / "nnUNetPlans_3d_fullres" / f"{case}.b2nd"))
        array = blosc2.open(str(generated / f"{case}.b2nd"))
        assert array.dtype == np.uint8
        assert 1 <= array.shape[0] <= 20
        assert array.shape[1:] == image.shape[1:]
        assert len(set(array.shape[1:])) == 3
        masks = array[:]
        assert set(np.unique(masks)) == {0, 1}
        provenance = json.loads((generated / f"{case}.json").read_text())
        assert provenance["n"] == len(masks) == len(provenance["supervoxels"])
        assert provenance["spacing"] == [2.0, 2.0, 2.0]
        for mask, entry in zip(masks, provenance["supervoxels"], strict=True):
            box = tuple(slice(*side) for side in entry["bounding_box"])
            assert mask[box].sum() == mask.sum() == entry["voxels"]
            assert mask[entry["keyframe"]].any()
        for key, rows in supervoxel_files.read_locations(generated, case).items():
            assert (rows[:, 0] == key - 1).all()
            assert masks[tuple(rows.T)].all()


def test_every_brain_gives_supervoxels_that_span_slices(generated: Path) -> None:
    for case in supervoxel_files.list_cases(generated):
        spans = supervoxel_files.open_array(generated, case)[:].any((2, 3)).sum(1)
        assert (spans >= 5).sum() >= 5


def test_supervoxels_lie_in_the_brain(preprocessed: Path, generated: Path) -> None:
    """The brain isn't symmetric from front to back: turned around, the masks leave it."""
    inside, turned = [], []
    for case in supervoxel_files.list_cases(generated):
        image = blosc2.open(str(preprocessed / "nnUNetPlans_3d_fullres" / f"{case}.b2nd"))[0]
        brain = image > (np.percentile(image, 5) + np.percentile(image, 95)) / 2
        for mask in supervoxel_files.open_array(generated, case)[:] > 0:
            inside.append(brain[mask].mean())
            turned.append(brain[:, ::-1][mask].mean())
    assert np.mean(inside) > 0.7
    assert np.mean(turned) < np.mean(inside) - 0.03


def test_existing_results_are_kept_unless_told(generated: Path, brain_generator: SupervoxelGenerator) -> None:
    before = {path: path.stat().st_mtime_ns for path in generated.iterdir()}
    reports = generate_dataset(990, runner=SerialRunner(brain_generator))
    assert [report.status for report in reports] == ["kept"] * 3
    assert all(report.supervoxels and report.voxels for report in reports)
    assert {path: path.stat().st_mtime_ns for path in generated.iterdir()} == before


def test_parts_make_the_same_bytes(generated: Path, brain_generator: SupervoxelGenerator) -> None:
    """Made by one process before; now in the reverse order, in two parts."""
    before = contents(generated)
    runner = SerialRunner(brain_generator)
    reports = [generate_dataset(990, num_parts=2, part_id=part, overwrite=True, runner=runner) for part in (1, 0)]
    assert [[report.case for report in part] for part in reports] == [["brain_01"], ["brain_00", "brain_02"]]
    assert all(report.status == "made" for part in reports for report in part)
    assert contents(generated, ".b2nd") == {k: v for k, v in before.items() if k.endswith(".b2nd")}
    assert contents(generated, ".pkl") == {k: v for k, v in before.items() if k.endswith(".pkl")}


def test_stock_nnunet_is_undisturbed(preprocessed: Path, generated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Case discovery, the dataset class and a stock trainer's first epoch, with supervoxels beside the cases."""
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class, nnUNetDatasetBlosc2

    folder = preprocessed / "nnUNetPlans_3d_fullres"
    assert infer_dataset_class(str(folder)) is nnUNetDatasetBlosc2
    assert sorted(nnUNetDatasetBlosc2.get_identifiers(str(folder))) == ["brain_00", "brain_01", "brain_02"]
    assert not [name for name in os.listdir(folder) if "supervoxel" in name]

    import torch
    from batchgenerators.utilities.file_and_folder_operations import load_json
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    plans = load_json(str(preprocessed / "nnUNetPlans.json"))
    plans["configurations"]["3d_fullres"] |= {"patch_size": [16, 32, 32], "batch_size": 2}
    plans["continue_training"] = False  # nnUNetv2_train puts it there
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setenv("nnUNet_compile", "f")
    trainer = nnUNetTrainer(
        plans, "3d_fullres", "all", load_json(str(preprocessed / "dataset.json")), torch.device("cpu")
    )
    trainer.initialize()
    loader, _ = trainer.get_dataloaders()
    batch = next(loader)
    assert set(batch["keys"]) <= {"brain_00", "brain_01", "brain_02"}
    assert tuple(batch["data"].shape) == (2, 1, 16, 32, 32)


def test_blosc2_in_blosc2_out(preprocessed: Path, tmp_path: Path, brain_generator: SupervoxelGenerator) -> None:
    runner = SerialRunner(brain_generator)
    runner.config = runner.config.model_copy(
        update={"file_format": (".b2nd",), "excluded_strings": ("_seg.b2nd", "_01")}
    )
    reports = generate_folder(preprocessed / "nnUNetPlans_3d_fullres", tmp_path, runner=runner)
    assert [report.case for report in reports] == ["brain_00", "brain_02"]
    assert sorted(os.listdir(tmp_path)) == sorted(
        f"{case}{end}" for case in ("brain_00", "brain_02") for end in (".b2nd", ".json", ".pkl")
    )
