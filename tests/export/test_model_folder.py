"""Model folders as nnInteractive's session reads them, and what is wrong with others."""

import json
import shutil

import pytest
import torch
from nnInteractive.inference.inference_session import nnInteractiveInferenceSession

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.model_folder import (
    INTERACTION_CHANNELS,
    SESSION_CHANNELS,
    SESSION_NAMES,
    read_model_folder,
)
from nnunetv2_supervoxel.prompts.encoding import NUM_CHANNELS, POSITIVE_NEGATIVE


@pytest.fixture
def folder(start_folder, tmp_path):
    return shutil.copytree(start_folder, tmp_path / "model")


def change(folder, **changed):
    path = folder / "inference_info.json"
    info = json.loads(path.read_text()) | changed
    path.write_text(json.dumps({key: value for key, value in info.items() if value is not None}))


def session_of(folder):
    session = nnInteractiveInferenceSession(device=torch.device("cpu"), do_autozoom=False)
    session.initialize_from_trained_model_folder(str(folder))
    return session


def test_channels_are_those_of_the_encoding():
    assert {SESSION_NAMES[kind]: channels for kind, channels in POSITIVE_NEGATIVE.items()} == SESSION_CHANNELS
    assert INTERACTION_CHANNELS == NUM_CHANNELS


def assert_same_as_session(folder):
    read, session = read_model_folder(folder), session_of(folder)
    assert read.interaction_decay == session.interaction_decay
    assert read.point_radius == session.point_interaction.point_radius
    assert list(read.scribble_thickness) == session.preferred_scribble_thickness
    assert read.pad_mode == session.pad_mode_data
    assert (read.license or "!!MISSING!!").splitlines()[0] == session.license
    assert {SESSION_NAMES[kind] for kind in read.interactions} == {
        name for name, supported in session.supported_interactions.items() if supported and name in SESSION_CHANNELS
    }
    return read


def test_it_reads_what_the_session_reads(folder):
    read = assert_same_as_session(folder)
    assert (read.point_radius, read.scribble_thickness, read.interaction_decay) == (3, (3, 3, 3), 0.9)
    assert read.interactions == ("point", "scribble")
    assert read.image_channels == 1


def test_what_is_left_out_has_the_sessions_defaults(folder):
    (folder / "inference_info.json").write_text("{}")
    (folder / "LICENSE").unlink()
    read = assert_same_as_session(folder)
    assert (read.point_radius, read.interaction_decay) == (4, 0.98)
    assert read.license is None


@pytest.mark.parametrize("content", ['"nnInteractiveInferenceSession"', '{"point_radius": 5}'])
def test_the_file_of_the_first_official_models(folder, content):
    (folder / "inference_info.json").unlink()
    (folder / "inference_session_class.json").write_text(content)
    read = assert_same_as_session(folder)
    assert read.interaction_decay == (0.9 if content.startswith('"') else 0.98)


def test_the_first_official_model_had_no_licence_file(folder):
    plans = json.loads((folder / "plans.json").read_text()) | {"dataset_name": "Dataset225_nnInteractiveV2"}
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "LICENSE").unlink()
    assert read_model_folder(folder).license == "CC BY-NC-SA 4.0"


@pytest.mark.parametrize("name", ["plans.json", "dataset.json", "inference_info.json", "fold_0/checkpoint_final.pth"])
def test_a_file_is_missing(folder, name):
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing|isn't a model folder") as told:
        read_model_folder(folder)
    assert str(folder) in str(told.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("plans.json", '{"conf', "plans.json is damaged"),
        ("plans.json", "[]", "plans.json holds a list"),
        ("plans.json", "{}", "has no configurations"),
        ("dataset.json", "{}", "doesn't name the image channels"),
        ("inference_info.json", "[" * 100000, "inference_info.json is damaged"),
        ("inference_info.json", "3", "inference_info.json holds a int"),
    ],
)
def test_a_file_is_damaged(folder, name, content, words):
    (folder / name).write_text(content)
    with pytest.raises(UserError, match=words):
        read_model_folder(folder)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"interaction_channels": 8}, "8 interaction channels instead of 6"),
        ({"channel_mapping": {"points": [5, 6]}}, r"'points' in channel \[5, 6\] instead of \[3, 4\]"),
        ({"channel_mapping": {"prev_seg": "a"}}, "'prev_seg' in channel"),
        ({"channel_mapping": 3}, "channel_mapping is no object"),
        ({"supported_interactions": dict.fromkeys(SESSION_NAMES.values(), False)}, "neither points"),
        ({"point_radius": 2.5}, "point_radius is 2.5"),
        ({"point_radius": 10**9}, "from 1 to 100"),
        ({"point_radius": float("inf")}, "can't be trained on here"),
        ({"preferred_scribble_thickness": [2, 2]}, "one number for each axis"),
        ({"interaction_decay": 0}, "interaction_decay is 0"),
    ],
)
def test_interactions_that_cannot_be_trained_on(folder, changed, words):
    change(folder, **changed)
    with pytest.raises(UserError, match=words):
        read_model_folder(folder)


def test_negative_channels_count_from_the_last(folder):
    change(folder, channel_mapping={"scribble": [-2, -1]})
    assert_same_as_session(folder)
