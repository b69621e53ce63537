"""`nnUNetv2_supervoxel_evaluate`, on the MNI152 brain."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import blosc2
import cc3d
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel.files.supervoxel_files import open_array, read_provenance

NAME = "nnUNetPlans_3d_fullres"
FILES = ["cases.csv", "structures.csv", "summary.json"]


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def evaluated(generated: Path, run: Callable) -> Path:
    """The folder of results with the dataset's own labels, beside the supervoxels."""
    before = sorted(path.name for folder in (generated, generated.parent / NAME) for path in folder.iterdir())
    done = run("nnUNetv2_supervoxel_evaluate", "-d", 990, "-np", 1)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 cases evaluated" in done.stdout
    assert "grey_matter, components" in done.stdout
    assert "nan" not in done.stdout
    assert before == sorted(path.name for folder in (generated, generated.parent / NAME) for path in folder.iterdir())
    return generated.parent / f"{NAME}_supervoxels_evaluation"


def test_figures_of_a_case_are_those_of_whole_arrays(evaluated: Path, generated: Path) -> None:
    masks = open_array(generated, "brain_00")[:] > 0
    (case,) = (row for row in rows(evaluated / "cases.csv") if row["case"] == "brain_00")
    assert int(case["supervoxels"]) == len(masks)
    volumes = masks.sum(axis=(1, 2, 3)) * 8  # 2 mm
    assert float(case["volume_mm3_percentile_25"]) == pytest.approx(np.percentile(volumes, 25), rel=1e-5)
    assert float(case["overlap"]) == pytest.approx(masks.sum() / masks.any(axis=0).sum())
    spanned = [
        np.ptp(np.nonzero(mask)[one["axis"]]) + 1
        for mask, one in zip(masks, read_provenance(generated, "brain_00")["supervoxels"], strict=True)
    ]
    assert float(case["slices_median"]) == np.median(spanned)
    assert 0 < float(case["coverage"]) <= 1


def test_figures_of_structures_are_those_of_whole_arrays(evaluated: Path, generated: Path) -> None:
    masks = open_array(generated, "brain_00")[:] > 0
    labels = blosc2.open(str(generated.parent / NAME / "brain_00_seg.b2nd"))[0].clip(0)
    components = cc3d.connected_components(labels, connectivity=26)
    found = [row for row in rows(evaluated / "structures.csv") if row["case"] == "brain_00"]
    assert sorted({row["name"] for row in found}) == ["grey_matter", "white_matter"]
    assert len(found) == 2 + components.max()
    sizes = []
    for row in found:
        if row["component"] == "whole":
            structure = labels == int(row["label"])
            dice = max(2 * (mask & structure).sum() / (mask.sum() + structure.sum()) for mask in masks)
            assert float(row["best_dice"]) == pytest.approx(dice)
            assert float(row["best_dice"]) <= float(row["achievable_dice"]) <= 1
        else:
            sizes.append(int(row["voxels"]))
    assert sorted(sizes) == sorted(np.bincount(components.ravel())[1:])


def test_the_json_holds_summaries_and_cases(evaluated: Path) -> None:
    (dataset,) = json.loads((evaluated / "summary.json").read_text())["datasets"]
    assert dataset["dataset"] == "Dataset990_MNI152Demo"
    counts = [int(row["supervoxels"]) for row in rows(evaluated / "cases.csv")]
    few_and_many = {"mean": np.mean(counts), "min": min(counts), "max": max(counts)}
    assert dataset["summary"]["supervoxels"] == pytest.approx(few_and_many)
    assert [len(case["description"]["voxels"]) for case in dataset["cases"]] == counts
    dice = [float(row["best_dice"]) for row in rows(evaluated / "structures.csv") if row["component"] == "whole"]
    (overall,) = (one for one in dataset["labels"] if one["name"] == "all labels" and not one["components"])
    assert overall["structures"] == 6
    assert overall["measures"]["best_dice"] == pytest.approx(np.mean(dice))


def test_label_maps_of_the_original_images_give_the_same_in_any_number_of_processes(
    evaluated: Path, run: Callable, nnunet_folders: dict[str, str], tmp_path: Path
) -> None:
    labels = Path(nnunet_folders["nnUNet_raw"]) / "Dataset990_MNI152Demo" / "labelsTr"
    done = run("nnUNetv2_supervoxel_evaluate", "-d", 990, 990, "-labels", labels, "-o", tmp_path / "new", "-np", 2)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == FILES
    for name in FILES[:2]:
        assert (tmp_path / "new" / name).read_bytes() == (evaluated / name).read_bytes()


@pytest.fixture
def copy(generated: Path) -> Iterator[Path]:
    """A second dataset (992) with the preprocessed cases and supervoxels of the first, free to be damaged."""
    target = generated.parents[1] / "Dataset992_Evaluated"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(generated.parent, target)
    yield target
    shutil.rmtree(target)


def test_bad_cases_are_reported_and_stop_nobody(
    copy: Path, run: Callable, nnunet_folders: dict[str, str], tmp_path: Path
) -> None:
    raw = Path(nnunet_folders["nnUNet_raw"]) / "Dataset990_MNI152Demo" / "labelsTr"
    shutil.copytree(raw, tmp_path / "labels")
    small = nib.load(raw / "brain_00.nii.gz").slicer[:-1]
    nib.save(small, tmp_path / "labels" / "brain_00.nii.gz")
    (tmp_path / "labels" / "brain_02.nii.gz").unlink()
    truncated = copy / f"{NAME}_supervoxels" / "brain_01.b2nd"
    truncated.write_bytes(truncated.read_bytes()[: truncated.stat().st_size // 2])
    truncated.with_name("stray.b2nd").write_text("x")

    done = run(
        "nnUNetv2_supervoxel_evaluate", "-d", 992, "-np", 1, "-labels", tmp_path / "labels", "-o", tmp_path / "results"
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "1 of 3 cases evaluated" in done.stdout
    assert "1 of 3 cases of Dataset992_Evaluated have no label map" in done.stdout
    errors = {row["case"]: row["error"] for row in rows(tmp_path / "results" / "cases.csv")}
    assert f"labels/brain_00.nii.gz has shape {small.shape[::-1]}" in errors["brain_00"]
    assert "brain_01.b2nd" in errors["brain_01"]
    assert errors["brain_02"] == ""
    for case in ("brain_00", "brain_01"):
        assert f"Dataset992_Evaluated, {case} failed: {errors[case]}" in done.stderr
        assert (done.stdout + done.stderr).count(errors[case]) == 1
    assert done.stderr.count("Note: ") == done.stderr.count("such as those of 'stray'; they are left out") == 1
    assert rows(tmp_path / "results" / "structures.csv") == []


def test_an_earlier_evaluation_stays_where_nothing_can_be_evaluated(copy: Path, run: Callable, tmp_path: Path) -> None:
    for path in (copy / f"{NAME}_supervoxels").glob("*.b2nd"):
        path.write_bytes(path.read_bytes()[:1000])
    (tmp_path / "cases.csv").write_text("earlier")
    done = run("nnUNetv2_supervoxel_evaluate", "-d", 992, "-np", 1, "-o", tmp_path)
    assert done.returncode == 1
    assert done.stdout == "None of 3 cases could be evaluated; nothing was written.\n"
    assert done.stderr.count(" failed: ") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["cases.csv"]
    assert (tmp_path / "cases.csv").read_text() == "earlier"


def test_a_case_in_which_nothing_was_found_counts(copy: Path, run: Callable, tmp_path: Path) -> None:
    folder = copy / f"{NAME}_supervoxels"
    for name in ("brain_00.b2nd", "brain_00.pkl"):
        (folder / name).unlink()
    provenance = json.loads((folder / "brain_00.json").read_text())
    (folder / "brain_00.json").write_text(json.dumps(provenance | {"n": 0, "supervoxels": []}))
    done = run("nnUNetv2_supervoxel_evaluate", "-d", 992, "-np", 1, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    (empty,) = (row for row in rows(tmp_path / "cases.csv") if row["case"] == "brain_00")
    assert (empty["supervoxels"], empty["coverage"], empty["overlap"]) == ("0", "0.0", "")
    missed = [row for row in rows(tmp_path / "structures.csv") if row["case"] == "brain_00"]
    assert {row["achievable_dice"] for row in missed} == {"0.0"}
    assert {row["undersegmentation_error"] for row in missed} == {""}


def test_no_case_has_supervoxels(copy: Path, run: Callable) -> None:
    shutil.rmtree(copy / f"{NAME}_supervoxels")
    done = run("nnUNetv2_supervoxel_evaluate", "-d", 992)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: Dataset992_Evaluated has no supervoxels of preprocessed cases in ")
    assert "nnUNetv2_supervoxel_generate -d 992" in line


def test_label_maps_on_the_preprocessed_grid(evaluated: Path, generated: Path, run: Callable, tmp_path: Path) -> None:
    """Halves of the brain, as a Blosc2 array and as an image, of two of the three cases."""
    labels = tmp_path / "labels"
    labels.mkdir()
    halves = []
    for number, ending in ((0, ".b2nd"), (1, ".nrrd")):
        seg = blosc2.open(str(generated.parent / NAME / f"brain_0{number}_seg.b2nd"))[0]
        half = (seg > 0) & (np.arange(seg.shape[2]) < seg.shape[2] // 2)
        halves.append(half.sum())
        if ending == ".b2nd":
            blosc2.asarray(half.astype(np.uint8), urlpath=str(labels / "brain_00.b2nd"))
        else:
            sitk.WriteImage(sitk.GetImageFromArray(half.astype(np.uint8)), str(labels / "brain_01.nrrd"))
    done = run("nnUNetv2_supervoxel_evaluate", "-d", 990, "-np", 1, "-labels", labels, "-o", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    whole = [row for row in rows(tmp_path / "results" / "structures.csv") if row["component"] == "whole"]
    assert [(row["case"], row["name"], int(row["voxels"])) for row in whole] == [
        ("brain_00", "label 1", halves[0]),
        ("brain_01", "label 1", halves[1]),
    ]


def test_images_that_keep_their_voxel_size_are_measured_in_it(
    prepared: Path, nnunet_folders: dict[str, str], run: Callable
) -> None:
    """Plans for training on from a model resample nothing; what they call the voxel size is a median."""
    done = run("nnUNetv2_supervoxel_evaluate", "-d", 995, "-p", "nnUNetPlans_nninteractive", "-np", 1)
    assert done.returncode == 0, done.stderr
    supervoxels = prepared / "nnUNetPlans_nninteractive_3d_fullres_supervoxels"
    measured = rows(prepared / f"{supervoxels.name}_evaluation" / "cases.csv")
    assert len(measured) == 3
    for row in measured:
        image = sitk.ReadImage(
            str(Path(nnunet_folders["nnUNet_raw"]) / prepared.name / "imagesTr" / f"{row['case']}_0000.nii.gz")
        )
        volumes = (open_array(supervoxels, row["case"])[:] > 0).sum(axis=(1, 2, 3)) * np.prod(image.GetSpacing())
        assert float(row["volume_mm3_percentile_25"]) == pytest.approx(np.percentile(volumes, 25), rel=1e-5)
