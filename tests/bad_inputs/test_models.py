"""Trained models and what is asked of them: `nnUNetv2_supervoxel_export` and `nnUNetv2_supervoxel_predict`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from bad_inputs.bad_files import (
    CANARY,
    LONG,
    Done,
    Make,
    holding,
    image,
    link,
    malicious_checkpoint,
    malicious_pickle,
    truncate,
    truncated,
    with_image,
    write_image,
    zipped,
)

OLDER = Path(__file__).parents[1] / "older_files" / "prompting"
TRAINED = "SupervoxelPromptTrainer__nnUNetPlans__3d_tiny"


class Row(NamedTuple):
    """What is wrong, and the words about it."""

    what: str
    make: Make
    says: str
    arguments: tuple[object, ...] = ()


def nothing(_: Path) -> None:
    pass


def checkpoint_in(folder: Path) -> Path:
    [path] = folder.glob("fold_*/checkpoint_final.pth")
    return path


def of_checkpoint(change: Callable[[Path], object]) -> Make:
    return lambda folder: change(checkpoint_in(folder))


def weights(change: Callable[[dict[str, Any]], object]) -> Make:
    """A checkpoint whose content is changed."""

    def make(folder: Path) -> None:
        content = torch.load(checkpoint_in(folder), weights_only=False)
        change(content)
        torch.save(content, checkpoint_in(folder))

    return make


def text(name: str, content: str | bytes) -> Make:
    return holding(name, content.encode() if isinstance(content, str) else content)


def canary_of(path: Path) -> Path:
    return next(parent for parent in path.parents if (parent / "results").is_dir()) / CANARY


NO_CHECKPOINT = "is damaged, or isn't an nnU-Net checkpoint"
FIRST = "encoder.stages.0.0.convs.0.conv.weight"

MODELS = [
    Row("truncated checkpoint", of_checkpoint(truncate), NO_CHECKPOINT),
    Row("empty checkpoint", of_checkpoint(lambda path: path.write_bytes(b"")), NO_CHECKPOINT),
    Row("text as checkpoint", of_checkpoint(lambda path: path.write_text("<html>404</html>")), NO_CHECKPOINT),
    Row("zip archive as checkpoint", of_checkpoint(lambda path: path.write_bytes(zipped("a", b"b"))), NO_CHECKPOINT),
    Row(
        "malicious checkpoint",
        of_checkpoint(lambda path: path.write_bytes(malicious_checkpoint(canary_of(path)))),
        "it asks for posix.mkdir, and could run code",
    ),
    Row(
        "malicious pickle",
        of_checkpoint(lambda path: path.write_bytes(malicious_pickle(canary_of(path)))),
        "checkpoint_final.pth",
    ),
    Row("no weights", weights(lambda content: content.pop("network_weights")), NO_CHECKPOINT),
    Row("numbers as weights", weights(lambda content: content.update(network_weights={"a": 1})), NO_CHECKPOINT),
    Row("no layer", weights(lambda content: content["network_weights"].clear()), "is missing"),
    Row("a layer less", weights(lambda content: content["network_weights"].pop(FIRST)), f"layer {FIRST} is missing"),
    Row(
        "a layer more",
        weights(lambda content: content["network_weights"].update(further=torch.zeros(1))),
        "layer further should not be there",
    ),
    Row(
        "a layer of another shape",
        weights(lambda content: content["network_weights"].update({FIRST: torch.zeros(1, 2)})),
        f"layer {FIRST} has shape (1, 2)",
    ),
    *(
        Row(f"{name} {content[:20]!r}", text(name, content), name)
        for name in ("plans.json", "dataset.json")
        for content in ("", "{", "{}", "[]", "null", b"\x80", "[" * 2000)
    ),
    Row("no plans", lambda folder: (folder / "plans.json").unlink(), "plans.json"),
    Row("no dataset.json", lambda folder: (folder / "dataset.json").unlink(), "dataset.json"),
    Row("channel names that are a number", text("dataset.json", '{"channel_names": 5}'), "dataset.json"),
    Row("no channel names", text("dataset.json", '{"channel_names": {}}'), "dataset.json"),
    Row("plans without configurations", text("plans.json", '{"configurations": {}}'), "plans.json"),
    Row("plans of a number", text("plans.json", '{"configurations": {"3d_tiny": 5}}'), "plans.json"),
]

TRAINED_MODELS = [
    *MODELS,
    *(
        Row(f"settings {content!r}", text("fold_all/prompt_training.json", content), "prompt_training.json")
        for content in (
            "",
            "{",
            "[]",
            "null",
            '{"max_rounds": "many"}',
            '{"unknown": 1}',
            '{"interactions": {"kiss": 1}}',
        )
    ),
    Row("no checkpoint", of_checkpoint(lambda path: path.unlink()), "There is no"),
    Row("a link to itself", of_checkpoint(lambda p: (p.unlink(), p.symlink_to(p.name))), "There is no"),
    Row("another fold", nothing, "There is no", ("-f", "3")),
    Row("another trainer", nothing, "There is no", ("-tr", "nnUNetTrainer")),
    Row("a checkpoint of 255 bytes", nothing, "There is no", ("-chk", LONG + "n")),
    Row("no such dataset", nothing, "isn't known to nnU-Net", ("-d", "321")),
    Row("a folder that is in use", lambda f: (f.parents[2] / "out").write_text("mine"), "exists already"),
    Row("no such target", nothing, "no dataset 321", ("--format", "nnunet", "-o", "weights.pth", "--target", "321")),
    Row("weights that aren't called so", nothing, "must end in .pth", ("--format", "nnunet", "-o", "weights")),
    Row("channels that are none", nothing, "--channels must be at least 1", ("--channels", "0")),
    Row(
        "weights below a file", nothing, "Nothing can be written to", ("--format", "nnunet", "-o", "a-file/weights.pth")
    ),
    Row("a folder below a file", nothing, "Nothing can be written to", ("-o", "a-file/out")),
]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nnunet_folders: dict[str, str]) -> Path:
    """The folder of a trained model, as nnUNetv2_train left it."""
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").touch()
    return Path(shutil.copytree(OLDER, tmp_path / "results" / "Dataset994_Bad" / TRAINED))


@pytest.mark.parametrize("row", TRAINED_MODELS, ids=lambda row: row.what)
def test_a_model_that_cannot_be_exported(row: Row, call: Callable[..., Done], results: Path, tmp_path: Path) -> None:
    row.make(results)
    before = sorted(tmp_path.rglob("*"))
    arguments = ("-d", "Dataset994_Bad", "-c", "3d_tiny", "-o", "out", "--format", "nninteractive", *row.arguments)
    done = call("nnUNetv2_supervoxel_export", *arguments)
    assert done.code in (1, 2)
    assert row.says in done.err
    assert len([line for line in done.err.splitlines() if "rror: " in line]) == 1
    assert done.out == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound model folder for nnInteractive."""
    from nnunetv2_supervoxel.commands.export import main

    folder = tmp_path_factory.mktemp("exported")
    shutil.copytree(OLDER, folder / "Dataset994_Bad" / TRAINED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("nnUNet_results", str(folder))
        arguments = ("-d", "Dataset994_Bad", "-c", "3d_tiny", "-o", str(folder / "model"), "--format", "nninteractive")
        patch.setattr("sys.argv", ["nnUNetv2_supervoxel_export", *arguments])
        assert main() == 0
    return folder / "model"


POINT = {"type": "point", "position": [15, 10, 6]}
PROMPTS = {"cases": {"sound": {"a": [POINT]}}}


@pytest.fixture
def place(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nnunet_folders: dict[str, str]) -> Path:
    """A folder with a model, prompts.json, and scans with a sound image."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(exported, tmp_path / "model")
    (tmp_path / "results").mkdir()
    (tmp_path / "scans").mkdir()
    (tmp_path / "prompts.json").write_text(json.dumps(PROMPTS))
    (tmp_path / "a-file").touch()
    write_image(tmp_path / "scans" / "sound.nii.gz")
    return tmp_path


def predict(call: Callable[..., Done], *arguments: object) -> Done:
    usual = ("-i", "scans", "-o", "masks", "-m", "model", "-prompts", "prompts.json", "-device", "cpu")
    return call("nnUNetv2_supervoxel_predict", *usual, *arguments)


def prompts(**content: object) -> Make:
    return text("prompts.json", json.dumps(content))


def of_model(row: Row) -> Row:
    return row._replace(make=lambda folder: row.make(folder / "model"))


UNFIT = [
    *(of_model(row)._replace(what=f"model: {row.what}", says="model") for row in MODELS if "layer" not in row.what),
    Row("no model", lambda f: shutil.rmtree(f / "model"), "isn't a model folder for nnInteractive"),
    Row("no information", lambda f: (f / "model" / "inference_info.json").unlink(), "isn't a model folder"),
    *(
        Row(f"information {content!r}", text("model/inference_info.json", content), "model")
        for content in ("", "[]", "null", '{"inference_class": "os.system"}')
    ),
    *(
        Row(f"prompts {content[:40]!r}", text("prompts.json", content), "prompts.json")
        for content in ("", "{", "[]", "null", "5", "{}", '{"cases": {}}', '{"cases": []}', b"\x80\x04", "[" * 2000)
    ),
    Row("no prompts", lambda f: (f / "prompts.json").unlink(), "prompts.json"),
    Row("prompts that are a folder", nothing, "The prompts scans can't be read", ("-prompts", "scans")),
    Row("an unknown key", prompts(cases={}, spaces="ras"), "unknown key 'spaces', did you mean 'space'?"),
    Row("an unknown space", prompts(space="mni", cases=PROMPTS["cases"]), "space"),
    Row("no object", prompts(cases={"sound": {}}), "case 'sound' names no object"),
    Row("no prompt", prompts(cases={"sound": {"a": []}}), "sound > a"),
    Row("an object that leads elsewhere", prompts(cases={"sound": {"../a": [POINT]}}), "a name is made of letters"),
    Row("an object with a line's end", prompts(cases={"sound": {"a\n": [POINT]}}), r"sound > 'a\n': a name is made of"),
    Row("a case that leads elsewhere", prompts(cases={"../sound": {"a": [POINT]}}), "a name is made of letters"),
    Row("an unknown type", prompts(cases={"sound": {"a": [{"type": "kiss"}]}}), "sound > a > 1"),
    Row(
        "a position of two",
        prompts(cases={"sound": {"a": [POINT | {"position": [1, 2]}]}}),
        "three numbers, x, y and z",
    ),
    Row("a position of words", prompts(cases={"sound": {"a": [POINT | {"position": "here"}]}}), "a position is three"),
    Row("a position at NaN", prompts(cases={"sound": {"a": [POINT | {"position": [1, 2, float("nan")]}]}}), "prompts"),
    Row("a folder of images that isn't there", nothing, "There is no folder gone", ("-i", "gone")),
    Row("no image", lambda f: (f / "scans" / "sound.nii.gz").unlink(), "holds no file that ends with"),
    Row("masks among the images", nothing, "would replace the images", ("-o", "scans")),
    Row("masks below a file", nothing, "Nothing can be written to a-file/masks", ("-o", "a-file/masks")),
    Row("masks in a folder of 300 bytes", nothing, "too long a name", ("-o", LONG + "n")),
    Row("a device that isn't there", nothing, "cuda:7", ("-device", "cuda:7")),
]


@pytest.mark.parametrize("row", UNFIT, ids=lambda row: row.what)
def test_what_cannot_be_predicted_with_is_told_in_a_line(row: Row, call: Callable[..., Done], place: Path) -> None:
    row.make(place)
    before = sorted(place.rglob("*"))
    done = predict(call, *row.arguments)
    assert done.code == 1
    [line] = [line for line in done.err.splitlines() if line.startswith("Error: ")]
    assert row.says in line
    assert done.out == ""
    assert [path for path in sorted(place.rglob("*")) if path.name != "masks"] == before


IMAGES = [
    Row("truncated", truncated("bad.nii.gz"), "not all of its voxels are there"),
    Row("text", holding("bad.nii.gz", b"<html>404</html>"), "it is damaged"),
    Row("a link to itself", link("bad.nii.gz", "bad.nii.gz"), "a link to a file that isn't there"),
    Row("a pipe", lambda f: os.mkfifo(f / "bad.nii.gz"), "a pipe or a device"),
    Row("four dimensions", with_image("bad.nii.gz", image((2, 3, 4, 5))), "4 dimensions"),
    Row("not there", nothing, "there is no image 'bad'"),
    Row("smaller than the position", with_image("bad.nii.gz", image((2, 3, 4))), "lies outside the image"),
]


def test_bad_images_stop_no_other(call: Callable[..., Done], place: Path) -> None:
    """All at once, because opening a session takes a second."""
    cases = {}
    for number, row in enumerate(IMAGES):
        row.make(place / "scans")
        if os.path.lexists("scans/bad.nii.gz"):
            os.rename("scans/bad.nii.gz", f"scans/bad{number}.nii.gz")
        cases[f"bad{number}"] = {"a": [POINT]}
    cases["n" * 251] = {"a": [POINT]}  # whose mask's name is too long
    write_image(place / "scans" / f"{'n' * 248}.nii.gz")
    cases |= {"n" * 248: {"a": [POINT]}, "sound": {"a": [POINT], "b": [POINT | {"position": [99, 0, 0]}], "c": [POINT]}}
    (place / "prompts.json").write_text(json.dumps({"cases": cases}))
    done = predict(call)
    assert done.code == 1
    told = {line.split(" failed: ")[0]: line for line in done.err.splitlines() if " failed: " in line}
    for number, row in enumerate(IMAGES):
        expected = row.says.replace("'bad'", f"'bad{number}'")
        assert expected in told[f"bad{number} a"], row.what
    assert "too long a name" in told[f"{'n' * 248} a"]
    assert "lies outside the image" in told["sound b"]
    assert len(told) == len(IMAGES) + 3
    assert sorted(os.listdir("masks")) == ["sound_a.nii.gz", "sound_c.nii.gz"]
    assert sitk.ReadImage("masks/sound_a.nii.gz").GetSize() == (31, 20, 12)
    assert np.isin(sitk.GetArrayFromImage(sitk.ReadImage("masks/sound_a.nii.gz")), (0, 1)).all()
