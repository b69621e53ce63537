"""Prompted predictions from the command line."""

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from nnInteractive.inference.inference_session import nnInteractiveInferenceSession

from nnunetv2_supervoxel.commands import to_nifti
from nnunetv2_supervoxel.commands.predict import main
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
            "othr": {"one": [{"type": "point", "position": [1, 2, 3]}]},
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
    assert f"othr one failed: there is no image 'othr' in {folder}, did you mean 'other'?" in done.stderr
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
        ({"cases": {}}, "cases: there is nothing in it"),
        ({"cases": {"a": {"b": []}}}, "cases > a > b: there is nothing in it"),
        ({"cases": {"a": {}}}, "names no object"),
        ({"cases": {"a": {"../b": [{"type": "point", "position": [1, 2, 3]}]}}}, "../b: a name is made of"),
        ({"cases": {"a": {"b": [{"type": "point", "position": [1, 2]}]}}}, "position: a position is three numbers"),
        (
            {"cases": {"a": {"b": [{"type": "pint", "position": [1, 2, 3]}]}}},
            "b > 1: unknown type 'pint', did you mean 'point'?",
        ),
        ({"cases": {"a": {"b": [{"type": "point", "position": [1, 2, 3], "sign": 1}]}}}, "sign"),
        (
            {"cases": {"a": {"b": [{"type": "point", "position": [1, 2, 3], "positve": False}]}}},
            "a > b > 1 > point: unknown key 'positve', did you mean 'positive'? (known: type, position, positive)",
        ),
        ({"case": {}}, "the file: unknown key 'case', did you mean 'cases'? (known: space, cases)"),
        (
            {"cases": {"a": {"b": [{"type": "point", "position": [1, 2, 3]}, {"type": "mask", "file": "m.nii.gz"}]}}},
            "a > b: an object's mask comes before its other prompts",
        ),
        ({"cases": {"a": {"b": [{"type": "mask", "file": "m.nii.gz", "label": 0}]}}}, "label"),
        (
            {"cases": {"a": {"b": [{"type": "mask", "file": "m.nii.gz", "positive": True}]}}},
            "unknown key 'positive' (known: type, file, label)",
        ),
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
    drawn, masks = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (tmp_path / "prompts.json").write_text(drawn)
    objects = load_prompts(tmp_path / "prompts.json").cases["patient1"]
    assert [prompt.type for prompt in objects["kidney"]] == ["box", "scribble", "lasso"]
    assert [prompt.positive for prompt in objects["liver"]] == [True, False]
    (tmp_path / "prompts.json").write_text(masks)
    objects = load_prompts(tmp_path / "prompts.json").cases["patient1"]
    assert objects["liver"][0].file == tmp_path / "atlas" / "patient1.nii.gz"
    assert [prompt.type for prompt in objects["kidney"]] == ["mask", "point"]


def test_what_is_no_model_is_said(folder, tmp_path, run):
    file = write(tmp_path / "p.json", {"cases": {"patient1": {"a": [{"type": "point", "position": [1, 2, 3]}]}}})
    done = run("nnUNetv2_supervoxel_predict", "-i", folder, "-o", tmp_path / "out", "-m", folder, "-prompts", file)
    assert done.returncode == 1
    assert "isn't a model folder" in done.stderr
    done = run("nnUNetv2_supervoxel_predict", "-i", folder, "-o", folder, "-m", folder, "-prompts", file)
    assert done.returncode == 1
    assert "would replace the images" in done.stderr
    assert not (tmp_path / "out").exists()


LABELS = {3: (slice(4, 12), slice(8, 20), slice(10, 25)), 7: (slice(13, 16), slice(3, 9), slice(28, 35))}


@pytest.fixture
def exported(model, tmp_path):
    export_nninteractive(model, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def zooming(model, tmp_path):
    """A model whose patch is large enough for the session to zoom out, and to refine whole masks."""
    plans = json.loads(json.dumps(model.plans))
    plans["configurations"]["3d_tiny"]["patch_size"] = [80, 80, 88]
    export_nninteractive(replace(model, plans=plans), tmp_path / "zooming")
    return tmp_path / "zooming"


@pytest.fixture
def label_map(tmp_path, scan):
    """A label map in the scan's geometry."""
    array = np.zeros(SHAPE, np.uint8)
    for label, place in LABELS.items():
        array[place] = label
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(scan)
    sitk.WriteImage(image, str(tmp_path / "labels.nii.gz"))
    return image


@pytest.fixture
def predict(tmp_path, monkeypatch, capsys):
    """The command in this process: exit code, standard output, standard error."""

    def call(model, *arguments):
        given = ["-m", model, "-o", tmp_path / "out", "-device", "cpu", *arguments]
        monkeypatch.setattr(sys, "argv", ["nnUNetv2_supervoxel_predict", *map(str, given)])
        return main(), *capsys.readouterr()

    return call


def read(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def session_of(folder, scan):
    session = nnInteractiveInferenceSession(device=torch.device("cpu"), do_autozoom=False)
    session.initialize_from_trained_model_folder(str(folder))
    session.set_image(sitk.GetArrayFromImage(scan)[None])
    session.set_target_buffer(np.zeros(SHAPE, np.uint8))
    return session


def test_a_mask_is_where_the_session_starts(exported, folder, scan, label_map, tmp_path, predict):
    start = {"type": "mask", "file": "labels.nii.gz", "label": 3}  # looked for beside the prompts
    corrections = [{"type": "point", "position": [30, 4, 11], "positive": False}]
    objects = {"corrected": [start, *corrections], "refined": [start], "without": corrections}
    prompts = write(tmp_path / "prompts.json", {"cases": {"patient1": objects}})
    code, out, err = predict(exported, "-i", folder, "-prompts", prompts)
    assert code == 0, err
    assert "3 objects segmented, 0 failed." in out
    found = {name: read(tmp_path / "out" / f"patient1_{name}.nii.gz") for name in objects}

    session = session_of(exported, scan)
    mask = (sitk.GetArrayFromImage(label_map) == 3).astype(np.uint8)
    session.add_initial_seg_interaction(mask)
    session.add_point_interaction((11, 4, 30), False)
    assert np.array_equal(found["corrected"], session.target_buffer)
    assert not np.array_equal(found["corrected"], found["without"])
    session.add_initial_seg_interaction(mask)
    session.add_point_interaction((7, 13, 17), True)  # the middle: this patch is too small to refine all of the mask
    assert np.array_equal(found["refined"], session.target_buffer)


def test_a_prompt_as_large_as_the_patch_is_answered_in_one_patch(exported, folder, tmp_path, predict):
    """The session would zoom out and then fail to refine, with its automatic zoom switched off, too."""
    around_all = {"type": "lasso", "points": [[1, 1, 8], [35, 1, 8], [35, 26, 8], [1, 26, 8]]}
    prompts = write(tmp_path / "prompts.json", {"cases": {"patient1": {"all of it": [around_all]}}})
    code, _, err = predict(exported, "-i", folder, "-prompts", prompts)
    assert code == 0, err
    outside = read(tmp_path / "out" / "patient1_all of it.nii.gz")
    outside[0:16, 2:26, 2:34] = 0  # the patch of (16, 24, 32) voxels around the lasso's middle
    assert not outside.any()


def test_a_mask_alone_is_refined_by_the_session(zooming, folder, scan, label_map, tmp_path, predict):
    prompts = {"cases": {"patient1": {"a": [{"type": "mask", "file": str(tmp_path / "labels.nii.gz")}]}}}
    np.random.seed(5)
    code, _, err = predict(zooming, "-i", folder, "-prompts", write(tmp_path / "prompts.json", prompts))
    assert code == 0, err
    session = session_of(zooming, scan)
    session.set_do_autozoom(True)
    mask = (sitk.GetArrayFromImage(label_map) > 0).astype(np.uint8)
    np.random.seed(0)  # the session draws patches; the command always draws the same
    session.add_initial_seg_interaction(mask, run_prediction=True)
    found = read(tmp_path / "out" / "patient1_a.nii.gz")
    assert np.array_equal(found, session.target_buffer)
    assert not np.array_equal(found, mask)


def test_masks_that_do_not_fit_are_told(exported, folder, label_map, tmp_path, predict):
    moved, small = sitk.Image(label_map), label_map[:, :, 2:]
    moved.SetOrigin((-12.0, 31.0, 5.0))
    stack = sitk.JoinSeries([label_map == 3, label_map == 7])
    for name, image in (("moved", moved), ("small", small), ("stack", stack)):
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    files = {"moved": None, "small": None, "stack": None, "labels": 5, "absent": None}
    objects = {
        name: [{"type": "mask", "file": f"{name}.nii.gz"} | ({"label": label} if label else {})]
        for name, label in files.items()
    }
    objects["good"] = [{"type": "mask", "file": "stack.nii.gz", "label": 2}]
    prompts = write(tmp_path / "prompts.json", {"cases": {"patient1": objects}})
    code, out, err = predict(exported, "-i", folder, "-prompts", prompts)
    assert code == 1
    assert "1 objects segmented, 5 failed." in out
    for words in (
        "patient1 moved failed: prompt 1, a mask: ",
        "moved.nii.gz lies elsewhere than the image (a corner is 1 mm off)",
        "small.nii.gz has size [37, 28, 16], but the image has [37, 28, 18] voxels",
        "stack.nii.gz has 2 volumes, so 'label' must say which: 1 to 2",
        "labels.nii.gz has no voxel of label 5 (labels there: 3, 7)",
        "absent.nii.gz can't be read as an image: no such file",
    ):
        assert words in err
    assert "Traceback" not in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["patient1_good.nii.gz"]


def test_a_model_of_a_single_round_takes_no_mask(model, folder, label_map, tmp_path, predict):
    single = replace(model, prompts=model.prompts.model_copy(update={"max_rounds": 1}))
    export_nninteractive(single, tmp_path / "single")
    prompts = {"cases": {"patient1": {"a": [{"type": "mask", "file": "labels.nii.gz"}]}}}
    code, _, err = predict(tmp_path / "single", "-i", folder, "-prompts", write(tmp_path / "prompts.json", prompts))
    assert code == 1
    assert "patient1 a failed: prompt 1, a mask: the model can't start from a mask; train one with max_rounds" in err


def test_supervoxels_in_a_folder_are_refined(exported, folder, label_map, tmp_path, predict):
    supervoxels = tmp_path / "supervoxels"
    supervoxels.mkdir()
    sitk.WriteImage(label_map, str(supervoxels / "patient1.nii.gz"))
    sitk.WriteImage(label_map, str(supervoxels / "no_image.nii.gz"))
    code, out, err = predict(exported, "-i", folder, "--from-supervoxels", supervoxels)
    assert code == 0, err
    assert "2 objects segmented, 0 failed." in out
    written = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in written] == ["patient1_supervoxel3.nii.gz", "patient1_supervoxel7.nii.gz"]
    from_labels = [path.read_bytes() for path in written]
    assert from_labels[0] != from_labels[1]

    stack = sitk.JoinSeries([label_map == 3, label_map == 7])
    sitk.WriteImage(stack, str(supervoxels / "patient1.nii.gz"))
    assert predict(exported, "-i", folder, "--from-supervoxels", supervoxels)[0] == 0
    for number, content in enumerate(from_labels, 1):
        assert (tmp_path / "out" / f"patient1_supervoxel{number}.nii.gz").read_bytes() == content

    (supervoxels / "patient1.nii.gz").unlink()
    code, _, err = predict(exported, "-i", folder, "--from-supervoxels", supervoxels)
    assert code == 1
    assert "None of the cases with supervoxels in" in err


def test_supervoxels_of_a_dataset_are_refined_in_the_original_images(exported, tmp_path, predict, monkeypatch, capsys):
    images = Path(os.environ["nnUNet_raw"]) / "Dataset997_Phantoms" / "imagesTr"
    some = tmp_path / "some"
    some.mkdir()
    (some / "case1.nii.gz").symlink_to(images / "case1_0000.nii.gz")
    code, _, err = predict(exported, "-i", some, "--from-supervoxels", "-d", 997)
    assert code == 0, err
    found = sorted((tmp_path / "out").iterdir())
    monkeypatch.setattr(sys, "argv", ["x", "-d", "997", "-o", str(tmp_path / "supervoxels"), "-cases", "case1"])
    assert to_nifti.main() == 0
    arguments = ["-i", some, "-o", tmp_path / "other", "--from-supervoxels", tmp_path / "supervoxels"]
    assert predict(exported, *arguments)[0] == 0
    assert len(found) > 3
    assert [path.name for path in found] == sorted(path.name for path in (tmp_path / "other").iterdir())
    for path in found:
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-prompts", "p.json"], "-i is needed"),
        (["-i", "in", "--from-supervoxels"], "wants a folder, or a dataset with -d"),
        (["-i", "in", "-prompts", "p.json", "-d", 997], "-d goes with --from-supervoxels"),
        (["-i", "in", "--from-supervoxels", "folder", "-d", 997], "-d goes with --from-supervoxels"),
        (["-i", "in", "--from-supervoxels", "folder", "-prompts", "p.json"], "not allowed with"),
        (["-i", "in"], "one of the arguments -prompts --from-supervoxels is required"),
    ],
)
def test_flags_that_do_not_go_together(arguments, words, predict, capsys):
    with pytest.raises(SystemExit) as end:
        predict("model", *arguments)
    assert end.value.code == 2
    assert words in capsys.readouterr().err
