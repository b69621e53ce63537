"""What a user reads when something is wrong: one sentence, no traceback, exit code not 0."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

COMMANDS = (
    "nnUNetv2_supervoxel_generate",
    "SuperVoxel_generate",
    "SuperVoxel_save_fg_location",
    "nnUNetv2_supervoxel_download_checkpoints",
    "nnUNetv2_supervoxel_verify",
    "nnUNetv2_supervoxel_to_nifti",
    "nnUNetv2_supervoxel_trainers",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_there_and_shows_an_example(command: str, run: Callable) -> None:
    done = run(command, "-h")
    assert done.returncode == 0
    assert f"example: {command}" in done.stdout or f"$({command})" in done.stdout


def assert_told(done: subprocess.CompletedProcess, *words: str) -> None:
    assert done.returncode not in (0, None)
    assert "Traceback" not in done.stderr
    message = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(message) == 1, done.stderr
    for word in words:
        assert word in message[0]


def test_a_dataset_that_does_not_exist(run: Callable) -> None:
    done = run("nnUNetv2_supervoxel_generate", "-d", 123, "-config", "tiny")
    assert_told(done, "no dataset 123", "nnUNetv2_plan_and_preprocess -d 123")


def test_a_wrong_dataset_among_others_is_told_before_any_work(run: Callable, preprocessed: Path) -> None:
    done = run("nnUNetv2_supervoxel_generate", "-d", 990, 123, "-config", "tiny_brain", "--overwrite")
    assert_told(done, "no dataset 123")
    assert "990" not in done.stderr  # not even its progress bar


def test_a_dataset_that_is_not_preprocessed(run: Callable, nnunet_folders: dict[str, str]) -> None:
    (Path(nnunet_folders["nnUNet_raw"]) / "Dataset124_Raw").mkdir(exist_ok=True)
    assert_told(
        run("nnUNetv2_supervoxel_generate", "-d", 124, "-config", "tiny"), "no dataset 124", "preprocess -d 124"
    )


def test_plans_and_configurations_that_do_not_exist(run: Callable, preprocessed: Path) -> None:
    done = run("nnUNetv2_supervoxel_generate", "-d", 990, "-config", "tiny", "-p", "OtherPlans")
    assert_told(done, "isn't preprocessed with plans 'OtherPlans'")
    done = run("nnUNetv2_supervoxel_generate", "-d", 990, "-config", "tiny", "-c", "3d_highres")
    assert_told(done, "no configuration '3d_highres'", "3d_fullres")
    done = run("nnUNetv2_supervoxel_generate", "-d", 990, "-config", "tiny", "-c", "2d")
    assert_told(done, "nnUNetPlans_2d", "nnUNetv2_plan_and_preprocess")


def test_a_missing_environment_variable(run: Callable) -> None:
    environment = {"nnUNet_preprocessed": ""}
    assert run("nnUNetv2_supervoxel_generate", "-d", 990, "-config", "tiny", **environment).returncode != 0


def test_missing_checkpoints_are_told_before_any_image_is_touched(
    run: Callable, preprocessed: Path, tmp_path: Path
) -> None:
    done = run("nnUNetv2_supervoxel_generate", "-d", 990, nnUNet_supervoxel_checkpoints=str(tmp_path))
    assert_told(
        done, "nnUNetv2_supervoxel_download_checkpoints --sam vit_h'", "--sam2 large'", "with the config 'tiny'"
    )
    assert done.stderr.count("'tiny'") == 1


def test_a_wrong_config(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("sam_checkpoint: vit_h\n")
    done = run("SuperVoxel_generate", "-i", tmp_path, "-c", tmp_path / "c.yaml")
    assert_told(done, "unknown key 'sam_checkpoint'", "sam1_checkpoint")
    done = run("SuperVoxel_generate", "-i", tmp_path, "-c", "nothing")
    assert_told(done, "no config file nothing", "tiny")
    assert "prompt_training" not in done.stderr


def test_empty_and_missing_folders(run: Callable, tmp_path: Path) -> None:
    assert_told(run("SuperVoxel_generate", "-i", tmp_path, "-c", "tiny"), "holds no file that ends with .nii.gz")
    assert_told(run("SuperVoxel_generate", "-i", tmp_path / "x", "-c", "tiny"), "no folder")
    assert_told(run("SuperVoxel_save_fg_location", "-supervoxel_folder", tmp_path), "generate supervoxels first")
    assert_told(run("SuperVoxel_save_fg_location", "-supervoxel_folder", tmp_path / "x"), "no folder")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nnUNetv2_supervoxel_generate",),
        ("nnUNetv2_supervoxel_generate", "-d", "1", "-num_parts", "2", "-part_id", "2"),
        ("nnUNetv2_supervoxel_generate", "-d", "1", "-num_parts", "0"),
        ("nnUNetv2_supervoxel_generate", "-d", "1", "--report", "no/folder/report.csv"),
        ("SuperVoxel_generate", "-i", "x"),
        ("SuperVoxel_save_fg_location", "-supervoxel_folder", "x", "-np", "0"),
        ("nnUNetv2_supervoxel_download_checkpoints", "--sam", "vit_x"),
    ],
)
def test_wrong_arguments_show_the_usage(arguments: tuple[str, ...], run: Callable) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage:" in done.stderr
