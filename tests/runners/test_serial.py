"""Whole datasets and folders through the commands, on the MNI152 brain."""

from __future__ import annotations

import csv
import json
import os
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import blosc2
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel import CaseReport, SupervoxelGenerator, generate_dataset, generate_folder
from nnunetv2_supervoxel.config import find_config
from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.runners.serial import _Case, _differing, _Reader


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
    reports = generate_dataset(990, generator=brain_generator)
    assert [report.status for report in reports] == ["kept"] * 3
    assert all(report.supervoxels and report.voxels for report in reports)
    assert {path: path.stat().st_mtime_ns for path in generated.iterdir()} == before


def test_what_is_kept_from_other_settings_is_said(generated: Path, run: Callable, tmp_path: Path) -> None:
    """The batch size, which makes no other supervoxels, is none of them."""
    config = tmp_path / "config.yaml"
    config.write_text(find_config("tiny_brain").read_text() + "seed: 1\nmax_track_growth: 2.0\npoints_per_batch: 3\n")
    before = contents(generated)
    arguments = ("-d", 990, "-device", "cpu", "--report", tmp_path / "report.csv")
    done = run("nnUNetv2_supervoxel_generate", *arguments, "-config", config)
    assert done.returncode == 0, done.stderr
    assert "3 cases: 0 made, 3 kept" in done.stdout
    assert "Note: 3 of them were done before with other settings (max_track_growth, seed)" in done.stderr
    with open(tmp_path / "report.csv", newline="") as file:
        assert [row["differing"] for row in csv.DictReader(file)] == ["max_track_growth, seed"] * 3
    done = run("nnUNetv2_supervoxel_generate", *arguments, "-config", "tiny_brain")
    assert "3 kept" in done.stdout
    assert "other settings" not in done.stderr
    assert contents(generated) == before


def test_other_weights_are_other_settings_and_newer_settings_had_their_default(
    generated: Path, brain_generator: SupervoxelGenerator
) -> None:
    now = brain_generator.provenance
    before = json.loads((generated / "brain_00.json").read_text())
    assert _differing(before, now) == []
    before["config"] |= {"axis": 0, "sam1_checkpoint": "/the/same/file"}  # as written before axes were a list
    del before["config"]["max_track_growth"]
    assert _differing(before, now) == []
    before["checkpoints"]["sam2"]["sha256"] = "0" * 64
    before["config"]["unknown"] = 1  # by a version to come
    assert "sam2_checkpoint" in _differing(before, now)
    assert _differing({"made by": "SLIC"}, now) == []


def test_parts_make_the_same_bytes(generated: Path, brain_generator: SupervoxelGenerator) -> None:
    """Made by one process before; now in the reverse order, in two parts."""
    before = contents(generated)
    reports = []
    for part in (1, 0):
        reports.append(generate_dataset(990, num_parts=2, part_id=part, overwrite=True, generator=brain_generator))
    assert [[report.case for report in part] for part in reports] == [["brain_01"], ["brain_00", "brain_02"]]
    assert all(report.status == "made" for part in reports for report in part)
    assert contents(generated, ".b2nd") == {k: v for k, v in before.items() if k.endswith(".b2nd")}
    assert contents(generated, ".pkl") == {k: v for k, v in before.items() if k.endswith(".pkl")}


@pytest.fixture
def copy(preprocessed: Path) -> Path:
    """A second dataset (991) with the preprocessed files of the first, free to be damaged."""
    target = preprocessed.parent / "Dataset991_Copy"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(preprocessed, target, ignore=shutil.ignore_patterns("*_supervoxels"))
    yield target
    shutil.rmtree(target)


def test_bad_cases_are_reported_and_stop_nobody(copy: Path, run: Callable, tmp_path: Path) -> None:
    images = copy / "nnUNetPlans_3d_fullres"
    damaged = images / "brain_00.b2nd"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    shape = blosc2.open(str(images / "brain_01.b2nd")).shape
    (images / "brain_01.b2nd").unlink()
    blosc2.asarray(np.full(shape, 3.0, np.float32), urlpath=str(images / "brain_01.b2nd"))

    done = run("nnUNetv2_supervoxel_generate", "-d", 991, "-config", "tiny", "--report", tmp_path / "report.csv")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "3 cases: 1 made, 0 kept, 1 without supervoxels, 1 failed" in done.stdout
    assert "brain_00" in done.stderr
    made = copy / "nnUNetPlans_3d_fullres_supervoxels"
    assert sorted(os.listdir(made)) == ["brain_01.json", "brain_02.b2nd", "brain_02.json", "brain_02.pkl"]
    assert json.loads((made / "brain_01.json").read_text())["notes"] == ["the image is constant"]
    with open(tmp_path / "report.csv", newline="") as file:
        rows = {row["case"]: row["status"] for row in csv.DictReader(file)}
    assert rows == {"brain_00": "failed", "brain_01": "empty", "brain_02": "made"}


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


def brain_image(folder: Path, name: str = "scan.nii.gz") -> sitk.Image:
    """A brain with oblique axes, anisotropic voxels and three different sizes."""
    from nilearn import datasets

    brain = datasets.load_mni152_template(resolution=2).get_fdata().T[20:70, 5:110, 3:90].astype(np.float32)
    image = sitk.GetImageFromArray(brain)
    image.SetSpacing((2.0, 2.1, 2.5))
    image.SetOrigin((-90.0, 126.0, -72.0))
    image.SetDirection((0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    folder.mkdir(exist_ok=True)
    sitk.WriteImage(image, str(folder / name))
    return image


def test_a_nifti_folder_through_the_command(tmp_path: Path, run: Callable) -> None:
    image = brain_image(tmp_path / "scans")
    (tmp_path / "scans" / "broken.nii.gz").write_bytes(b"not a NIfTI")
    (tmp_path / "scans" / "notes.txt").write_text("not an image")
    done = run("SuperVoxel_generate", "-i", tmp_path / "scans", "-c", "tiny", "-device", "cpu")
    assert done.returncode == 1, done.stderr
    assert "2 cases: 1 made, 0 kept, 0 without supervoxels, 1 failed" in done.stdout
    output = tmp_path / "supervoxel"  # the default: beside the input
    assert sorted(os.listdir(output)) == ["scan.json", "scan.nii.gz"]
    masks = sitk.ReadImage(str(output / "scan.nii.gz"))
    assert masks.GetSize()[:3] == image.GetSize()
    dimension = masks.GetDimension()  # ITK reads a 4D NIfTI with one volume as 3D
    np.testing.assert_allclose(masks.GetSpacing()[:3], image.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(masks.GetOrigin()[:3], image.GetOrigin(), rtol=1e-6)
    direction = np.reshape(masks.GetDirection(), (dimension, dimension))[:3, :3].ravel()
    np.testing.assert_allclose(direction, image.GetDirection(), atol=1e-6)
    array = sitk.GetArrayFromImage(masks).reshape(-1, *sitk.GetArrayFromImage(image).shape)
    assert set(np.unique(array)) == {0, 1}
    # The masks fit the image where it lies: their outlines are on edges more often than those of mirrored masks.
    gradient = np.linalg.norm(np.gradient(sitk.GetArrayFromImage(image)), axis=0)
    outline = array[:, 1:-1].astype(bool) & ~(array[:, 2:].astype(bool) & array[:, :-2].astype(bool))
    on_edges = np.mean([gradient[1:-1][mask].mean() for mask in outline if mask.any()])
    mirrored = np.mean([gradient[1:-1, :, ::-1][mask].mean() for mask in outline if mask.any()])
    assert on_edges > mirrored


def test_images_are_never_replaced_by_supervoxels(tmp_path: Path, run: Callable) -> None:
    brain_image(tmp_path / "scans")
    brain_image(tmp_path / "others")
    (tmp_path / "others" / "scan.json").write_text('{"Modality": "MR"}')  # BIDS keeps such a file beside an image
    (tmp_path / "link").symlink_to(tmp_path / "scans")
    before = {name: contents(tmp_path / name) for name in ("scans", "others")}
    arguments = ("-i", tmp_path / "scans", "-c", "tiny")
    for output in ("scans", "link"):
        done = run("SuperVoxel_generate", *arguments, "-o", tmp_path / output, "--overwrite")
        assert done.returncode == 1
        assert "would replace the images" in done.stderr
    done = run("SuperVoxel_generate", *arguments, "-o", tmp_path / "others")
    assert done.returncode == 1
    assert "1 failed" in done.stdout
    assert "scan.nii.gz is there already and wasn't made by generation" in done.stderr
    assert {name: contents(tmp_path / name) for name in ("scans", "others")} == before


def test_blosc2_in_blosc2_out(preprocessed: Path, tmp_path: Path, brain_generator: SupervoxelGenerator) -> None:
    config = brain_generator.config.model_copy(
        update={"file_format": (".b2nd",), "excluded_strings": ("_seg.b2nd", "_01")}
    )
    old, brain_generator.config = brain_generator.config, config
    try:
        reports = generate_folder(preprocessed / "nnUNetPlans_3d_fullres", tmp_path, generator=brain_generator)
    finally:
        brain_generator.config = old
    assert [report.case for report in reports] == ["brain_00", "brain_02"]
    assert sorted(os.listdir(tmp_path)) == sorted(
        f"{case}{end}" for case in ("brain_00", "brain_02") for end in (".b2nd", ".json", ".pkl")
    )


def test_save_fg_location_writes_what_generation_wrote(generated: Path, run: Callable) -> None:
    before = contents(generated)
    for path in generated.glob("*.pkl"):
        path.unlink()
    done = run("SuperVoxel_save_fg_location", "-supervoxel_folder", generated, "-np", 2)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 cases have class locations now." in done.stdout
    assert contents(generated) == before


def test_save_fg_location_reports_damaged_arrays(tmp_path: Path, run: Callable) -> None:
    (tmp_path / "bad.b2nd").write_bytes(b"bad")
    done = run("SuperVoxel_save_fg_location", "-supervoxel_folder", tmp_path)
    assert done.returncode == 1
    assert "bad failed" in done.stderr
    assert "0 of 1 cases" in done.stdout


def test_reports_are_plain_values() -> None:
    assert CaseReport("a", "made", 3, 10, 1.5).message == ""


def test_the_next_case_that_is_not_done_is_read_while_one_runs() -> None:
    read, done = [], {"b"}
    proceed = {name: threading.Event() for name in "abcd"}

    def reads(name: str) -> str:
        read.append(name)
        proceed[name].set()
        if name == "c":
            raise UserError("c is damaged")
        return name

    cases = [_Case(name, partial(reads, name)) for name in "abcd"]
    with _Reader(cases, lambda case: case.name in done) as reader:
        assert reader.read(cases[0]) == "a"
        assert proceed["c"].wait(10)  # b is done, c is next
        with pytest.raises(UserError, match="c is damaged"):
            reader.read(cases[2])
        assert reader.read(cases[3]) == "d"
    assert read == ["a", "c", "d"]


def test_what_did_not_fit_beside_another_case_is_read_again() -> None:
    attempts = []

    def reads() -> str:
        attempts.append("b")
        if len(attempts) == 1:
            raise MemoryError
        return "b"

    cases = [_Case("a", lambda: "a"), _Case("b", reads)]
    with _Reader(cases, lambda _: False) as reader:
        assert [reader.read(case) for case in cases] == ["a", "b"]
    assert len(attempts) == 2
