"""The exported folder in nnInteractive's own session, loaded in a process that knows nothing of ours."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from nnInteractive.inference.inference_session import nnInteractiveInferenceSession

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.nninteractive import (
    differences_in_the_session,
    export_nninteractive,
    inference_info,
    license_of,
)
from nnunetv2_supervoxel.prompts.encoding import add_interaction
from nnunetv2_supervoxel.prompts.interaction import Interaction
from nnunetv2_supervoxel.prompts.point import point_at


@pytest.fixture
def exported(model, tmp_path):
    export_nninteractive(model, tmp_path / "exported", "CC BY 4.0\nSome text.")
    return tmp_path / "exported"


@pytest.fixture
def session(exported):
    session = nnInteractiveInferenceSession(device=torch.device("cpu"), do_autozoom=False)
    session.initialize_from_trained_model_folder(str(exported))
    return session


def start(session, shape, seed=0):
    image = np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32)
    session.set_image(image)
    session.set_target_buffer(np.zeros(shape, np.uint8))
    return image


def test_what_was_trained_is_what_the_session_knows(session):
    assert session.license == "CC BY 4.0"
    assert session.trainer_name == "nnInteractiveTrainer_stub"
    assert session.interaction_decay == 0.9
    assert session.point_interaction.point_radius == 3
    assert session.supported_interactions == {
        "points": True,
        "scribble": True,
        "lasso": True,
        "bbox2d": False,
        "bbox3d": False,
    }


def test_the_folder_opens_without_us(exported, tmp_path):
    """A process in which importing our package fails still loads the model."""
    (tmp_path / "blocked" / "nnunetv2_supervoxel").mkdir(parents=True)
    (tmp_path / "blocked" / "nnunetv2_supervoxel" / "__init__.py").write_text("raise ImportError('not here')")
    program = (
        "import torch\n"
        "from nnInteractive.inference.inference_session import nnInteractiveInferenceSession as S\n"
        f"s = S(device=torch.device('cpu')); s.initialize_from_trained_model_folder({str(exported)!r})\n"
        "print(s.network.__class__.__name__)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("nnUNet_")}
    environment["PYTHONPATH"] = str(tmp_path / "blocked")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "PlainConvUNet"


def test_the_session_computes_our_logits(session, trained):
    shape = tuple(trained.configuration_manager.patch_size)
    image = start(session, shape)
    centre = tuple(size // 2 for size in shape)
    channels = torch.zeros(7, *shape)
    add_interaction(channels, point_at(centre, True, 3), 0.9)
    scribble = np.zeros(shape, np.uint8)
    scribble[centre[0], centre[1] - 4 : centre[1] + 4, centre[2] - 1 : centre[2] + 1] = 1
    add_interaction(channels, Interaction("scribble", False, (0, 0, 0), scribble.astype(np.float32)), 0.9)
    session.add_point_interaction(centre, True, run_prediction=False)
    session.add_scribble_interaction(scribble, False, run_prediction=False)

    seen, *_ = session._build_network_input(list(centre), 1)
    normalised = torch.from_numpy((image - image.mean()) / image.std())
    ours = torch.cat((normalised, channels))
    assert torch.allclose(seen.float(), ours, atol=2e-3)  # the session keeps interactions in half precision
    with torch.no_grad():
        logits = session.network(seen[None].float())
    assert (logits - trained.predict(seen[None].float())).abs().max() < 1e-4
    assert (logits - trained.predict(ours[None])).abs().max() < 2e-2 * logits.abs().max()


def test_points_scribbles_lassos_undo_and_reset(session):
    shape = (16, 24, 32)
    start(session, shape)
    session.add_point_interaction((8, 12, 16), True)
    first = session.target_buffer.copy()
    assert 0 < first.mean() < 1
    drawn = np.zeros(shape, np.uint8)
    drawn[8, 5:14, 6:20] = 1
    session.add_lasso_interaction(drawn, False)
    session.add_scribble_interaction(drawn, True)
    assert session.interactions[5].max() > session.interactions[2].max() > session.interactions[3].max()  # decay
    with pytest.raises(ValueError, match="not supported"):
        session.add_bbox_interaction([[8, 9], [3, 9], [4, 12]], True)  # boxes were not trained
    session.reset_interactions()
    assert session.interactions.max() == 0
    session.add_point_interaction((8, 12, 16), True)
    assert np.array_equal(session.target_buffer, first)
    session.add_point_interaction((3, 4, 5), False)
    assert session.undo()
    assert np.array_equal(session.target_buffer, first)


def test_a_single_round_has_no_use_for_an_initial_segmentation(model):
    once = replace(model, prompts=model.prompts.model_copy(update={"max_rounds": 1}))
    assert not inference_info(once)["supports_initial_label"]
    assert inference_info(model)["supports_initial_label"]


def test_what_the_session_does_otherwise_is_said(model):
    (only,) = differences_in_the_session(model)
    assert "switch auto-zoom off" in only
    larger = json.loads(json.dumps(model.plans))
    larger["configurations"][model.configuration]["patch_size"] = [49, 64, 50]
    assert differences_in_the_session(replace(model, plans=larger)) == []
    plans = json.loads(json.dumps(model.plans))
    plans["configurations"]["3d_fullres"]["normalization_schemes"] = ["CTNormalization"]
    plans["configurations"]["3d_fullres"]["spacing"] = [2.0, 1.5, 1.0]
    plans["transpose_forward"], plans["transpose_backward"] = [1, 0, 2], [1, 0, 2]
    channels = model.dataset_json | {"channel_names": {"0": "CT", "1": "CT"}}
    said = " ".join(differences_in_the_session(replace(model, plans=plans, dataset_json=channels)))
    for part in ("CTNormalization", "channels with mean and deviation of the first", "transposed", "resampled 100%"):
        assert part in said


def test_a_model_that_never_saw_a_prompt_is_refused(model, tmp_path):
    with pytest.raises(UserError, match="trained without prompts"):
        export_nninteractive(replace(model, prompts=None), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    export_nninteractive(model, tmp_path / "out")


def test_the_licence_of_the_model_that_the_training_started_from(model):
    start = {"folder": "/models/a", "license": "CC BY-NC-SA 4.0\nMore."}
    started = replace(model, start=start)
    text, said = license_of(started, None)
    assert text == start["license"]
    assert "/models/a: CC BY-NC-SA 4.0." in said[0]
    assert license_of(started, "CC BY-NC-SA 4.0")[1] == []
    text, said = license_of(started, "MIT")
    assert text == "MIT"
    assert "is under CC BY-NC-SA 4.0; see to it that this allows 'MIT'" in said[0]
    unknown = replace(model, start=start | {"license": None})
    with pytest.raises(UserError, match=r"names no licence; .*--license"):
        license_of(unknown, None)
    assert license_of(unknown, "MIT") == ("MIT", [])
    text, said = license_of(model, None)
    assert text.startswith("unspecified")
    assert said == ["no --license is given: whoever opens the model reads that its licence is unspecified."]
    assert license_of(model, "MIT") == ("MIT", [])


def test_nothing_is_overwritten(model, exported):
    before = {path: path.read_bytes() for path in exported.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="exists already"):
        export_nninteractive(model, exported)
    assert {path: path.read_bytes() for path in exported.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in exported.parent.iterdir() if path.name.startswith(".")) == []


def test_the_command(trained, tmp_path, run):
    arguments = ("-d", 997, "-c", "3d_tiny", "--format", "nninteractive")
    done = run("nnUNetv2_supervoxel_export", *arguments, "-o", tmp_path / "out", "--license", "MIT")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "LICENSE",
        "dataset.json",
        "fold_0",  # of a training on all folds: napari's plugin opens fold 0
        "inference_info.json",
        "plans.json",
    ]
    for wrong, words in ((("-f", 3), "train first"), (("-d", 12), "Dataset 12"), (("-chk", "x.pth"), "x.pth")):
        done = run("nnUNetv2_supervoxel_export", *arguments, *wrong, "-o", tmp_path / "other")
        assert done.returncode == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "other").exists()


def test_a_damaged_checkpoint(trained, tmp_path, run):
    checkpoint = Path(trained.output_folder) / "checkpoint_final.pth"
    checkpoint.write_bytes(checkpoint.read_bytes()[:3000])
    arguments = ("-d", 997, "-c", "3d_tiny", "--format", "nninteractive", "-o", tmp_path / "out")
    done = run("nnUNetv2_supervoxel_export", *arguments)
    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
