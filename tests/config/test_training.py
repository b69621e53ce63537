"""PromptTrainingConfig and its template."""

import pytest
import yaml

from nnunetv2_supervoxel.config import PromptTrainingConfig, find_config, load_config
from nnunetv2_supervoxel.errors import UserError


def test_the_template_shows_every_setting_with_its_default():
    template = find_config("prompt_training")
    assert set(yaml.safe_load(template.read_text())) == set(PromptTrainingConfig.model_fields)
    assert load_config(template, PromptTrainingConfig) == PromptTrainingConfig()


def test_every_setting_is_documented():
    assert all(field.description for field in PromptTrainingConfig.model_fields.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("interactions: {dot: 1}", "'interactions.dot.*should be 'point', 'box', 'scribble' or 'lasso'"),
        ("interactions: {point: 0}", "at least one interaction type needs a weight above 0"),
        ("interactions: {point: -1, box: 1}", r"'interactions.point' is -1"),
        ("interaction_decay: 1.5", "'interaction_decay' is 1.5"),
        ("max_rounds: 0", "'max_rounds' is 0"),
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
