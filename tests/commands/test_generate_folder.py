"""`SuperVoxel_generate`, on the MNI152 brain."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel.commands.generate_folder import main
from nnunetv2_supervoxel.runners.serial import SerialRunner
from nnunetv2_supervoxel.runners.stopping import Stopped

Contents = Callable[..., dict[str, bytes]]


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
    assert sorted(os.listdir(output)) == [".failed", "scan.json", "scan.nii.gz"]
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


def test_images_are_never_replaced_by_supervoxels(contents: Contents, tmp_path: Path, run: Callable) -> None:
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
    assert (tmp_path / "others" / ".failed" / "scan").read_text().endswith("(--overwrite replaces it).\n")
    shutil.rmtree(tmp_path / "others" / ".failed")
    assert {name: contents(tmp_path / name) for name in ("scans", "others")} == before


def test_preemption_keeps_what_is_done_and_says_so(tmp_path: Path, nnunet_folders: dict[str, str]) -> None:
    """SIGTERM in the middle; the same command then does the rest."""
    scans, output, cases = tmp_path / "scans", tmp_path / "out", 30
    scans.mkdir()
    rng = np.random.default_rng(0)
    for number in range(cases):
        image = sitk.GetImageFromArray(rng.normal(size=(24, 90, 70)).astype(np.float32))
        sitk.WriteImage(image, str(scans / f"scan{number:02d}.nrrd"))
    (tmp_path / "slic.yaml").write_text("method: slic\nfile_format: .nrrd\n")
    command = [str(Path(sys.executable).parent / "SuperVoxel_generate"), "-i", str(scans), "-o", str(output)]
    command += ["-c", str(tmp_path / "slic.yaml"), "-device", "cpu", "--report", str(tmp_path / "report.csv")]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (output / "scan01.nrrd").exists():
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.02)
    run.send_signal(signal.SIGTERM)
    printed, said = run.communicate(timeout=60)
    assert run.returncode == 143
    assert "Traceback" not in said
    assert said.endswith("Stopped by SIGTERM; what was finished is kept, the same command goes on from there.\n")
    with open(tmp_path / "report.csv", newline="") as file:
        done = [row["case"] for row in csv.DictReader(file)]
    assert 2 <= len(done) < cases
    assert f"{len(done)} of {cases} cases: {len(done)} made" in printed
    assert sorted(os.listdir(output)) == [f"{case}{end}" for case in done for end in (".json", ".nrrd")]


def test_what_is_said_of_a_run_that_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise Stopped(signal.SIGTERM)

    (tmp_path / "scans").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.float32)), str(tmp_path / "scans" / "a.nii.gz"))
    (tmp_path / "slic.yaml").write_text("method: slic\n")
    monkeypatch.setattr(SerialRunner, "run", stopped)
    command = ["SuperVoxel_generate", "-i", str(tmp_path / "scans"), "-c", str(tmp_path / "slic.yaml")]
    ends = {
        "": "the same command goes on from there.\n",
        "--overwrite": "the same command begins anew.\n",
    }
    for flag, end in ends.items():
        monkeypatch.setattr(sys, "argv", [*command, *filter(None, [flag])])
        assert main() == 143
        assert capsys.readouterr().err.endswith(end)


def test_a_claim_is_void_after_the_time_that_the_command_was_told(tmp_path: Path, nnunet_folders: dict) -> None:
    """Another machine's run claimed a case and hasn't been heard of for a quarter of an hour."""
    brain_image(tmp_path / "scans", "a.nii.gz")
    shutil.copy(tmp_path / "scans" / "a.nii.gz", tmp_path / "scans" / "b.nii.gz")
    (tmp_path / "slic.yaml").write_text("method: slic\n")
    output, claim = tmp_path / "out", tmp_path / "out" / ".running" / "a"
    claim.parent.mkdir(parents=True)
    claim.write_text('{"owner": "other.1.2.3", "since": 0.0, "run_began": 0.0}')
    os.utime(claim, (time.time() - 900,) * 2)
    command = [str(Path(sys.executable).parent / "SuperVoxel_generate"), "-i", str(tmp_path / "scans")]
    command += ["-o", str(output), "-c", str(tmp_path / "slic.yaml"), "--claim-timeout"]
    waiting = subprocess.Popen([*command, "3600"], stdout=subprocess.PIPE, text=True)
    try:
        while not (output / "b.json").exists() and waiting.poll() is None:
            time.sleep(0.1)
        assert waiting.poll() is None  # it waits for the other run
        assert claim.exists()
        assert not (output / "a.json").exists()
        impatient = subprocess.run([*command, "600"], stdout=subprocess.PIPE, text=True, check=False)
        assert "2 cases: 1 made, 1 kept" in impatient.stdout
        assert "2 cases: 1 made, 1 kept" in waiting.communicate()[0]
    finally:
        waiting.kill()
