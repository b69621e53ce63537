"""Settings of the trainers, and their templates."""

import pytest
import yaml

from nnunetv2_supervoxel.config import PretrainingConfig, PromptTrainingConfig, find_config, load_config
from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.training.objectives import OBJECTIVES, find_objective
from nnunetv2_supervoxel.training.objectives.base import Objective

TEMPLATES = {"prompt_training": PromptTrainingConfig, "pretraining": PretrainingConfig}


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_template_shows_every_setting_with_its_default(name):
    template, kind = find_config(name), TEMPLATES[name]
    assert set(yaml.safe_load(template.read_text())) == set(kind.model_fields)
    shown = load_config(template, kind).model_dump()
    if name == "pretraining":  # the objective's own settings lie with the objective
        objective = find_objective(shown["objective"])
        assert objective.Settings(**shown.pop("objective_settings")) == objective.Settings()
    assert shown == kind().model_dump(include=shown.keys())


@pytest.mark.parametrize("kind", TEMPLATES.values())
def test_every_setting_is_documented(kind):
    assert all(field.description for field in kind.model_fields.values())


def test_files_of_before_naming_had_its_own_trainer(tmp_path):
    path = tmp_path / "training.yaml"
    path.write_text("max_rounds: 3\nnaming_fraction: 0.0\nnaming_classes: 24")
    assert load_config(path, PromptTrainingConfig) == PromptTrainingConfig(max_rounds=3)
    path.write_text("naming_fraction: 1.0")
    with pytest.raises(UserError, match="is wrong: 'naming_fraction' isn't a setting any more: train with -tr Super"):
        load_config(path, PromptTrainingConfig)


def test_null_counts_as_left_out(tmp_path):
    """A copied template sets nothing that a start model decides."""
    config = load_config(find_config("prompt_training"), PromptTrainingConfig)
    decided = {"interactions", "point_radius", "scribble_thickness", "interaction_decay", "initial_lr", "warmup_epochs"}
    assert not decided & config.model_fields_set
    path = tmp_path / "training.yaml"
    path.write_text("point_radius: null\ninteraction_decay: 0.98")
    assert load_config(path, PromptTrainingConfig).model_fields_set == {"interaction_decay"}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_are_found_by_name(name):
    assert issubclass(find_objective(name), Objective)
    with pytest.raises(UserError, match=f"no objective 'guessing'.*{name}"):
        find_objective("guessing")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("interactions: {dot: 1}", "'interactions.dot.*should be 'point', 'box', 'scribble' or 'lasso'"),
        ("interactions: {point: 0}", "at least one interaction type needs a weight above 0"),
        ("interactions: {point: -1, box: 1}", r"'interactions.point' is -1"),
        ("interaction_decay: 1.5", "'interaction_decay' is 1.5"),
        ("max_rounds: 0", "'max_rounds' is 0"),
        ("{num_epochs: 5, warmup_epochs: 5}", "'warmup_epochs' is 5: it must be less than num_epochs"),
        ("scribble_thickness: 0", "'scribble_thickness' is 0"),
        ("datasets: {4: 0}", "'datasets.4' is 0"),
        ("datasets: [4]", "'datasets' is"),
        ("num_epoch: 5", "unknown key 'num_epoch'"),
        ("real_label_fraction: 2", "'real_label_fraction' is 2"),
    ],
)
def test_wrong_values_are_named(tmp_path, text, message):
    path = tmp_path / "training.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_config(path, PromptTrainingConfig)


def test_dataset_ids_may_be_numbers(tmp_path):
    path = tmp_path / "training.yaml"
    path.write_text("datasets: {12: 0.5, Dataset013_Liver: 2}")
    assert load_config(path, PromptTrainingConfig).datasets == {"12": 0.5, "Dataset013_Liver": 2.0}
