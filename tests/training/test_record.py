"""Going on with a training, or validating it, in a shell that knows nothing of its settings."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest
from nnunetv2.run.run_training import maybe_load_checkpoint

from nnunetv2_supervoxel.config import PretrainingConfig, PromptTrainingConfig, load_config
from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.training.record import CONFIG_VARIABLE, compare_with_record, write_record


def log_of(trainer) -> str:
    return Path(trainer.log_file).read_text()


@pytest.fixture
def left(make_trainer, prompt_training):
    """Leave the folder of a training that has just begun: `left(optimizer="adamw")`."""

    def leave(name="SupervoxelPromptTrainer", **settings) -> Path:
        prompt_training(**settings)
        trainer = make_trainer(name)
        trainer.on_train_start()
        trainer.save_checkpoint(os.path.join(trainer.output_folder, "checkpoint_final.pth"))
        return Path(trainer.output_folder)

    return leave


@pytest.mark.parametrize("flags", [(True, False), (False, True)])  # --c, --val
def test_a_new_shell_is_told_which_settings_to_name(left, make_trainer, monkeypatch, flags):
    folder = left(optimizer="adamw", initial_lr=1e-5, interactions={"scribble": 0.5, "box": 1}, batch_size=None)
    before = (folder / "prompt_training.json").read_bytes()
    monkeypatch.delenv(CONFIG_VARIABLE)
    with pytest.raises(UserError, match=r"had other settings than the defaults \((.*)\)") as told:
        maybe_load_checkpoint(make_trainer(initialize=False), *flags)
    for name in ("optimizer", "initial_lr", "interactions", "max_rounds", "num_iterations_per_epoch"):
        assert f"{name}, " in str(told.value)
    assert "batch_size" not in str(told.value)
    assert (folder / "prompt_training.json").read_bytes() == before

    variable, path = shlex.split(str(told.value).rsplit("export ", 1)[1])[0].split("=")
    monkeypatch.setenv(variable, path)
    trainer = make_trainer(initialize=False)
    maybe_load_checkpoint(trainer, *flags)
    assert trainer.optimizer.param_groups[0]["lr"] == 1e-5
    assert trainer.objective.user.kinds == ["scribble", "box"]  # validated objects take them in this order
    assert "other settings than in" not in log_of(trainer)


def test_what_has_changed_is_logged(left, make_trainer, prompt_training):
    folder = left(num_epochs=2)
    prompt_training(num_epochs=7, interaction_decay=0.5)
    trainer = make_trainer(initialize=False)
    maybe_load_checkpoint(trainer, True, False)
    told = "INFO: other settings than in prompt_training.json: num_epochs 2 -> 7, interaction_decay 0.98 -> 0.5"
    assert told in log_of(trainer)
    trainer.on_train_start()
    assert load_config(folder / "prompt_training.json", PromptTrainingConfig).num_epochs == 7


def test_an_optimizer_cannot_go_on_with_the_state_of_another(left, make_trainer, prompt_training):
    left(optimizer="adamw")
    prompt_training()
    with pytest.raises(UserError, match="has the optimizer adamw and can't go on with sgd; correct 'optimizer'"):
        maybe_load_checkpoint(make_trainer(initialize=False), True, False)


def test_a_start_model_is_not_lost_on_the_way(left, make_trainer, prompt_training):
    folder = left(num_epochs=2)
    record = folder / "prompt_training.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"start_from": "/models/one"}))
    prompt_training(num_epochs=2)
    with pytest.raises(UserError, match=r"started from /models/one, .* names no start model; .*prompt_training\.json"):
        maybe_load_checkpoint(make_trainer(initialize=False), True, False)
    record.write_text(json.dumps(json.loads(record.read_text()) | {"start_from": None}))  # as the message advises
    maybe_load_checkpoint(make_trainer(initialize=False), True, False)


def test_trainers_named_after_a_length_need_no_config(left, make_trainer, monkeypatch):
    monkeypatch.delenv(CONFIG_VARIABLE)
    left("SupervoxelPromptTrainer_5epochs")
    trainer = make_trainer("SupervoxelPromptTrainer_5epochs", initialize=False)
    maybe_load_checkpoint(trainer, True, False)
    assert trainer.num_epochs == 5


def test_folders_without_a_record_say_nothing(tmp_path):
    assert compare_with_record(tmp_path, PromptTrainingConfig(num_epochs=3), named=False) == []


def test_a_record_that_cannot_be_read(tmp_path):
    (tmp_path / "pretraining.json").write_text("{")
    with pytest.raises(UserError, match=r"pretraining\.json is not valid YAML.*Remove the file"):
        compare_with_record(tmp_path, PretrainingConfig(), named=True)


def test_nothing_stays_of_the_start_model_of_an_earlier_training(tmp_path):
    """The export would name its licence."""
    config = PromptTrainingConfig()
    write_record(tmp_path, config, {"license": "CC BY-NC-SA 4.0"}, begins=True)
    write_record(tmp_path, config, None, begins=False)
    assert (tmp_path / "start_model.json").is_file()  # goes on: its weights still come from there
    write_record(tmp_path, config, None, begins=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prompt_training.json"]
