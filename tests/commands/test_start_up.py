"""Mistakes are reported before PyTorch, SimpleITK and nnU-Net's trainers are imported: at once, in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "SimpleITK", "blosc2", "cv2", "nnunetv2.training", "scipy")

# Calls a command as its console script does, and says on the last line which heavy packages it imported.
CALL = f"""
import importlib, sys
module, *sys.argv[1:] = sys.argv[1:]
try:
    code = importlib.import_module(f"nnunetv2_supervoxel.commands.{{module}}").main()
except SystemExit as ended:
    code = ended.code
print("imported:", *[name for name in {HEAVY} if name in sys.modules])
sys.exit(code)
"""

DATASET = "Dataset123_Empty"
OF_EVALUATION = ("-d", 123, "-p", "generated")
OF_MODEL = ("-o", "out", "--format", "nninteractive")
OF_PREDICTION = ("-o", "masks", "-m", "no_model", "-prompts")
REFINED = ("-o", "masks", "-m", "no_model", "--from-supervoxels")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all commands run: nnU-Net's folders, a dataset with plans, and files to make mistakes with."""
    root = tmp_path_factory.mktemp("start_up")
    for name in ("raw", "results", "images", "empty", f"preprocessed/{DATASET}"):
        (root / name).mkdir(parents=True)
    (root / f"preprocessed/{DATASET}/nnUNetPlans.json").write_text('{"configurations": {"3d_fullres": {}}}')
    (root / f"preprocessed/{DATASET}/broken.json").write_text('{"config')
    for plans in ("generated", "unmade"):
        content = {"configurations": {"3d_fullres": {"data_identifier": plans}}}
        (root / f"preprocessed/{DATASET}/{plans}.json").write_text(json.dumps(content))
        (root / f"preprocessed/{DATASET}/{plans}").mkdir()
        (root / f"preprocessed/{DATASET}/{plans}/a.b2nd").touch()
    (root / f"preprocessed/{DATASET}/generated_supervoxels").mkdir()
    (root / f"preprocessed/{DATASET}/generated_supervoxels/a.json").touch()
    (root / "images/a.nii.gz").touch()
    (root / "wrong_key.yaml").write_text("keyframse: 3")
    (root / "prompts.json").write_text('{"cases": {"a": {"liver": [{"type": "point", "position": [1, 2, 3]}]}}}')
    (root / "wrong_prompts.json").write_text('{"cases": {}}')
    return root


@pytest.mark.parametrize(
    ("command", "arguments", "code", "words"),
    [
        ("generate_dataset", ["-h"], 0, "preprocessed nnU-Net datasets"),
        ("generate_dataset", ["-d", 123, "--colour"], 2, "--colour"),
        ("generate_dataset", ["-d", 123, "-config", "wrong_key.yaml"], 1, "keyframse"),
        ("generate_dataset", ["-d", 123, "-config", "missing.yaml"], 1, "missing.yaml"),
        ("generate_dataset", ["-d", 123, "-num_parts", 0], 2, "-num_parts must be at least 1"),
        ("generate_dataset", ["-d", 321], 1, "no dataset 321"),
        ("generate_dataset", ["-d", 123, "-p", "others"], 1, "isn't preprocessed with plans 'others'"),
        ("generate_dataset", ["-d", 123, "-p", "broken"], 1, "can't be read as nnU-Net's plans"),
        ("generate_dataset", ["-d", 123, "-c", "3d_half"], 1, "there are: 3d_fullres"),
        ("generate_folder", ["-h"], 0, "every image in a folder"),
        ("generate_folder", ["-i", "missing", "-c", "tiny"], 1, "no folder missing"),
        ("generate_folder", ["-i", "empty", "-c", "tiny"], 1, "holds no file that ends with .nii.gz"),
        ("generate_folder", ["-i", "images", "-o", "images", "-c", "tiny"], 1, "would replace the images"),
        ("generate_folder", ["-i", "images", "-c", "wrong_key.yaml"], 1, "keyframse"),
        ("save_fg_location", ["-h"], 0, "class locations"),
        ("save_fg_location", ["-supervoxel_folder", "missing"], 1, "no folder missing"),
        ("save_fg_location", ["-supervoxel_folder", "empty"], 1, "generate supervoxels first"),
        ("save_fg_location", ["-supervoxel_folder", "empty", "-np", 0], 2, "-np must be at least 1"),
        ("download_checkpoints", ["-h"], 0, "official SAM and SAM 2.1"),
        ("download_checkpoints", ["--sam", "vit_x"], 2, "vit_x"),
        ("evaluate", ["-h"], 0, "how well they match structures"),
        ("evaluate", ["-d", 123, "-np", 0], 2, "-np must be at least 1"),
        ("evaluate", ["-d", 321], 1, "no dataset 321"),
        ("evaluate", ["-d", 123, "-p", "others"], 1, "isn't preprocessed with plans 'others'"),
        ("evaluate", ["-d", 123, "-p", "unmade"], 1, "nnUNetv2_supervoxel_generate -d 123"),
        ("evaluate", [*OF_EVALUATION, "-labels", "missing"], 1, "no folder missing"),
        ("evaluate", [*OF_EVALUATION, "-labels", "empty"], 1, "holds no label map"),
        ("evaluate", [*OF_EVALUATION, "-o", "prompts.json"], 1, "is no folder"),
        ("evaluate", [*OF_EVALUATION, "-o", f"preprocessed/{DATASET}/generated"], 1, "nothing but cases"),
        ("report", ["-h"], 0, "on one HTML page"),
        ("report", ["-d", 321], 1, "no dataset 321"),
        ("report", ["-d", 123, "-p", "unmade"], 1, "nnUNetv2_supervoxel_generate -d 123"),
        (
            "report",
            [*OF_EVALUATION, "--view", "b"],
            1,
            "There is no case 'b' among the preprocessed ones",
        ),
        ("report", [*OF_EVALUATION, "-o", "report.txt"], 1, "doesn't end with .html"),
        ("report", [*OF_EVALUATION, "-np", 0], 2, "-np must be at least 1"),
        ("verify", ["-h"], 0, "What is wrong is listed case by case"),
        ("verify", ["-d", 321], 1, "no dataset 321"),
        ("verify", ["-d", 123, "-p", "unmade"], 1, "nnUNetv2_supervoxel_generate -d 123"),
        ("to_nifti", ["-h"], 0, "geometry of the original images"),
        ("to_nifti", ["-d", 321, "-o", "out"], 1, "no dataset 321"),
        ("to_nifti", [*OF_EVALUATION, "-o", "prompts.json"], 1, "is no folder"),
        ("to_nifti", [*OF_EVALUATION, "-o", f"preprocessed/{DATASET}/generated"], 1, "nothing but cases"),
        (
            "to_nifti",
            [*OF_EVALUATION, "-o", "out", "-cases", "a", "b"],
            1,
            "There is no case 'b' among the preprocessed ones",
        ),
        ("plot_overlay_pngs", ["-h"], 0, "nnUNetv2_plot_overlay_pngs"),
        ("plot_overlay_pngs", ["-d", 321, "-o", "out"], 1, "no dataset 321"),
        ("plot_overlay_pngs", ["-d", 123, "-p", "others", "-o", "out"], 1, "isn't preprocessed with plans 'others'"),
        ("plot_overlay_pngs", [*OF_EVALUATION, "-o", f"preprocessed/{DATASET}/generated"], 1, "nothing but cases"),
        ("plot_overlay_pngs", ["-d", 123, "-o", "out", "-overlay_intensity", -1], 2, "must be from 0 to 1"),
        ("plot_overlay_pngs", ["-d", 123, "-o", "out", "-overlay_intensity", 7], 2, "must be from 0 to 1"),
        ("plot_overlay_pngs", ["-d", 123, "-o", "out", "-overlay_intensity", "nan"], 2, "must be from 0 to 1"),
        ("trainers", ["-h"], 0, "SupervoxelPromptTrainer"),
        ("export", ["-h"], 0, "nnInteractive"),
        ("export", ["-d", 321, *OF_MODEL], 1, "Dataset 321 isn't known"),
        ("export", ["-d", 123, *OF_MODEL], 1, "train first"),
        ("export", ["-d", 123, *OF_MODEL, "--channels", 1], 2, "--channels goes with"),
        ("export", ["-d", 123, "-o", "out", "--format", "nnunet", "--channels", 0], 2, "must be at least 1"),
        ("predict", ["-h"], 0, "prompts"),
        ("predict", ["-i", "images", *OF_PREDICTION, "missing.json"], 1, "missing.json can't be read"),
        ("predict", ["-i", "images", *OF_PREDICTION, "wrong_prompts.json"], 1, "wrong_prompts.json are wrong"),
        ("predict", ["-i", "missing", *OF_PREDICTION, "prompts.json"], 1, "no folder missing"),
        ("predict", ["-i", "images", *OF_PREDICTION, "prompts.json"], 1, "isn't a model folder"),
        ("start_from", ["-h"], 0, "training on from a model"),
        ("start_from", ["-m", "missing", "-d", 123], 1, "missing isn't a model folder"),
        ("start_from", ["-m", "empty", "-d", 123, "-gpu_memory_target", 0], 2, "must be above 0"),
        ("start_from", ["-m", "empty", "-d", 123, "-p", "nnUNetPlans"], 2, "-p and -sp must differ"),
        ("predict", [*REFINED, "-d", 321], 1, "no dataset 321"),
        ("predict", ["-i", "images", *REFINED, "empty"], 1, "empty holds no file"),
        ("predict", ["-i", "images", *REFINED], 2, "a folder, or a dataset with -d"),
        ("import_images", ["-h"], 0, "without labels"),
        ("import_images", ["-i", "missing", "-d", 5], 1, "no folder missing"),
        ("import_images", ["-i", "images", "-d", 5, "-n", "a b"], 1, "can't be a dataset's name"),
        ("import_images", ["-i", "images", "-d", 0], 2, "from 1 to 999"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else None,
)
def test_mistakes_are_reported_before_anything_heavy_is_imported(
    folder: Path, command: str, arguments: list, code: int, words: str
) -> None:
    variables = {f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")}
    done = subprocess.run(
        [sys.executable, "-c", CALL, command, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | variables,
    )
    *printed, imported = done.stdout.splitlines()
    assert " ".join(words.split()) in " ".join([*printed, done.stderr]).replace("\n", " ")
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert imported == "imported:", f"a mistake waited for {imported}"
