"""Prompted predictions from the command line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from nnInteractive.inference.inference_session import nnInteractiveInferenceSession

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.nninteractive import export_nninteractive
from nnunetv2_supervoxel.export.prompt_drawing import draw_on_slice, voxel_indices
from nnunetv2_supervoxel.export.prompt_file import LassoPrompt, ScribblePrompt, load_prompts

SHAPE = (18, 28, 37)


@pytest.fixture
def scan():
    """An oblique, anisotropic image."""
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-12.0, 30.0, 5.0))
    image.SetDirection((0.0, -1.0, 0.0, 0.8, 0.0, -0.6, 0.6, 0.0, 0.8))
    return image


@pytest.fixture
def folder(tmp_path, scan):
    (tmp_path / "in").mkdir()
    sitk.WriteImage(scan, str(tmp_path / "in" / "patient1.nii.gz"))
    return tmp_path / "in"


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def test_the_spaces_agree(scan):
    index = (30, 4, 11)  # x, y, z
    lps = scan.TransformIndexToPhysicalPoint(index)
    ras = (-lps[0], -lps[1], lps[2])
    for space, position in (("voxel", index), ("lps", lps), ("ras", ras)):
        assert voxel_indices([position], space, scan).tolist() == [[11, 4, 30]]
    with pytest.raises(UserError, match="outside the image"):
        voxel_indices([(4, 30, 11)], "voxel", scan)


def test_scribbles_and_lassos_lie_on_their_slice():
    scribble = ScribblePrompt(type="scribble", points=[(5, 20, 9), (30, 20, 9)])
    drawn = draw_on_slice(scribble, np.array([[9, 20, 5], [9, 20, 30]]), SHAPE, 2)
    assert drawn.shape == SHAPE
    assert drawn[9, 20, 5:31].all()
    assert set(np.unique(np.argwhere(drawn)[:, 0])) == {9}
    assert 26 <= drawn.sum() <= 80
    corners = np.array([[3, 6, 12], [14, 6, 12], [14, 6, 30], [3, 6, 30]])
    lasso = LassoPrompt(type="lasso", points=[(12, 6, 3)] * 4)
    drawn = draw_on_slice(lasso, corners, SHAPE, 2)
    expected = np.zeros(SHAPE, np.uint8)
    expected[3:15, 6, 12:31] = 1
    assert np.array_equal(drawn, expected)
    with pytest.raises(UserError, match="one slice"):
        draw_on_slice(lasso, np.array([[3, 6, 12], [4, 7, 13], [5, 6, 12]]), SHAPE, 2)


def test_the_command_equals_the_session(model, folder, scan, tmp_path, run):
    export_nninteractive(model, tmp_path / "model")
    prompts = {
        "cases": {
            "patient1": {
                "one": [{"type": "point", "position": [30, 4, 11]}],
                "two": [
                    {"type": "lasso", "points": [[5, 6, 7], [20, 6, 7], [20, 18, 7]]},
                    {"type": "scribble", "points": [[25, 6, 7], [25, 18, 7]], "positive": False},
                ],
            },
            "missing": {"one": [{"type": "point", "position": [1, 2, 3]}]},
            "other": {
                "outside": [{"type": "point", "position": [1, 2, 3]}, {"type": "point", "position": [1, 2, 30]}],
                "untrained": [{"type": "box", "corners": [[3, 4, 5], [9, 12, 5]]}],
                "before": [{"type": "lasso", "points": [[5, 6, 7], [20, 6, 7], [20, 18, 7]]}],
                "good": [{"type": "point", "position": [30, 4, 11]}],
            },
        }
    }
    sitk.WriteImage(scan, str(folder / "other.nii.gz"))
    file = write(tmp_path / "prompts.json", prompts)
    arguments = ("-i", folder, "-o", tmp_path / "out", "-m", tmp_path / "model", "-prompts", file, "-device", "cpu")
    done = run("nnUNetv2_supervoxel_predict", *arguments)
    assert done.returncode == 1
    assert "missing one failed: there is no image 'missing'" in done.stderr
    assert "other outside failed: prompt 2, a point: the position [1.0, 2.0, 30.0] (voxel) lies outside" in done.stderr
    assert "other untrained failed: prompt 1, a box: the model was not trained on prompts of type 'box'" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.strip() == "4 objects segmented, 3 failed."
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    expected = ["other_before", "other_good", "patient1_one", "patient1_two"]
    assert written == [f"{name}.nii.gz" for name in expected]
    same = [(tmp_path / "out" / name).read_bytes() for name in ("other_good.nii.gz", "patient1_one.nii.gz")]
    assert same[0] == same[1]  # nothing of the objects before is left in the session

    session = nnInteractiveInferenceSession(device=torch.device("cpu"), do_autozoom=False)
    session.initialize_from_trained_model_folder(str(tmp_path / "model"))
    session.set_image(sitk.GetArrayFromImage(scan)[None])
    session.set_target_buffer(np.zeros(SHAPE, np.uint8))
    session.add_point_interaction((11, 4, 30), True)
    result = sitk.ReadImage(str(tmp_path / "out" / "patient1_one.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(result), session.target_buffer)
    assert 0 < session.target_buffer.mean() < 1
    assert result.GetSize() == scan.GetSize()
    for get in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert np.allclose(getattr(result, get)(), getattr(scan, get)(), atol=1e-5)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "Invalid JSON"),
        ({"cases": {}}, "cases"),
        ({"cases": {"a": {}}}, "names no object"),
        ({"cases": {"a": {"../b": [{"type": "point", "position": [1, 2, 3]}]}}}, "../b: a name is made of"),
        ({"cases": {"a": {"b": [{"type": "point", "position": [1, 2]}]}}}, "position: a position is three numbers"),
        ({"cases": {"a": {"b": [{"type": "pint", "position": [1, 2, 3]}]}}}, "pint"),
        ({"cases": {"a": {"b": [{"type": "point", "position": [1, 2, 3], "sign": 1}]}}}, "sign"),
        (
            {"cases": {"a": {"b": [{"type": "point", "position": [1, 2, 3], "positve": False}]}}},
            "a > b > 0 > point: unknown key 'positve', did you mean 'positive'? (known: type, position, positive)",
        ),
        ({"case": {}}, "the file: unknown key 'case', did you mean 'cases'? (known: space, cases)"),
        ({"space": "mm", "cases": {"a": {"b": [{"type": "point", "position": [1, 2, 3]}]}}}, "space"),
    ],
)
def test_wrong_prompts_are_named(tmp_path, content, words):
    path = tmp_path / "prompts.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError, match="are wrong: ") as error:
        load_prompts(path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_the_pages_prompts_are_valid(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "how_to" / "predict.md").read_text()
    example = re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0]
    (tmp_path / "prompts.json").write_text(example)
    objects = load_prompts(tmp_path / "prompts.json").cases["patient1"]
    assert [prompt.type for prompt in objects["kidney"]] == ["box", "scribble", "lasso"]
    assert [prompt.positive for prompt in objects["liver"]] == [True, False]


def test_what_is_no_model_is_said(folder, tmp_path, run):
    file = write(tmp_path / "p.json", {"cases": {"patient1": {"a": [{"type": "point", "position": [1, 2, 3]}]}}})
    done = run("nnUNetv2_supervoxel_predict", "-i", folder, "-o", tmp_path / "out", "-m", folder, "-prompts", file)
    assert done.returncode == 1
    assert "isn't a model folder" in done.stderr
    done = run("nnUNetv2_supervoxel_predict", "-i", folder, "-o", folder, "-m", folder, "-prompts", file)
    assert done.returncode == 1
    assert "would replace the images" in done.stderr
    assert not (tmp_path / "out").exists()
