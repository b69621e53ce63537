"""Trainings that start from a model: its weights, its settings, its curve in the validation, its licence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from nnInteractive.inference.inference_session import nnInteractiveInferenceSession
from nnunetv2.run.run_training import get_trainer_from_args, maybe_load_checkpoint, run_training

from nnunetv2_supervoxel.config import PromptTrainingConfig
from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.start_model import load_start_model
from nnunetv2_supervoxel.prompts.encoding import add_interaction
from nnunetv2_supervoxel.prompts.interaction import Interaction
from nnunetv2_supervoxel.prompts.point import point_at
from nnunetv2_supervoxel.training.logger import PromptLogger
from nnunetv2_supervoxel.training.record import CONFIG_VARIABLE
from nnunetv2_supervoxel.training.start import with_settings_of

CPU = torch.device("cpu")
PLANS = "nnUNetPlans_nninteractive"
RAW = "Dataset995_Varied/imagesTr/other_0000.nii.gz"
SHORT = {"num_iterations_per_epoch": 1, "num_val_iterations_per_epoch": 1, "min_target_voxels": 30, "max_rounds": 2}


@pytest.fixture
def settings(training_settings, start_folder):
    """Write the settings of a training that starts from the model: `settings(num_epochs=3)`."""

    def write(**changed):
        training_settings(**SHORT | {"start_from": str(start_folder), "validation_objects_per_case": 2} | changed)

    write()
    return write


@pytest.fixture
def make(prepared, settings):
    """Make a trainer on the prepared dataset: `make(plans="nnUNetPlans")`."""

    def trainer(plans=PLANS, configuration="3d_fullres", name="SupervoxelPromptTrainer"):
        return get_trainer_from_args("995", configuration, "all", name, plans, device=CPU)

    return trainer


def session_of(folder):
    session = nnInteractiveInferenceSession(device=CPU, do_autozoom=False)
    session.initialize_from_trained_model_folder(str(folder))
    return session


@pytest.mark.parametrize("kind", ["point", "scribble"])
def test_before_the_first_step_it_says_what_the_session_says(make, start_folder, nnunet_folders, kind):
    """The same raw image and prompts: the same logits. The image's voxel size isn't the dataset's median."""
    trainer = make()
    trainer.initialize()
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    session = session_of(start_folder)
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(Path(nnunet_folders["nnUNet_raw"]) / RAW)))[None]
    shape = image.shape[1:]
    session.set_image(image)
    session.set_target_buffer(np.zeros(shape, np.uint8))
    case = trainer.open_validation_dataset().open_case("other")
    assert case.shape == shape  # not resampled
    patch = trainer.configuration_manager.patch_size
    centre = [size // 2 for size in shape]
    bounds = [(c - p // 2, c + p // 2 + p % 2) for c, p in zip(centre, patch, strict=True)]

    ours = torch.zeros(8, *patch)
    ours[0] = torch.from_numpy(case.image_patch(bounds)[0])
    if kind == "point":
        position = tuple(c - a for c, (a, _) in zip(centre, bounds, strict=True))
        add_interaction(ours[1:], point_at(position, True, 3), 0.9)
        session.add_point_interaction(tuple(centre), True, run_prediction=False)
    else:
        drawn = np.zeros(shape, np.uint8)
        drawn[centre[0], centre[1] - 3 : centre[1] + 3, centre[2] - 1 : centre[2] + 1] = 1
        in_patch = drawn[tuple(slice(max(0, a), b) for a, b in bounds)].astype(np.float32)
        add_interaction(ours[1:], Interaction("scribble", False, (0, 0, 0), in_patch), 0.9)
        session.add_scribble_interaction(drawn, False, run_prediction=False)
    seen = session._build_network_input(centre, 1)[0].float()

    # The session divides by the deviation of a sample, nnU-Net by that of a population: 1 / 2n apart for n voxels.
    assert (seen[0] - ours[0]).abs().max() < 1e-4
    assert (seen[1:] - ours[1:]).abs().max() < 1e-3  # the session keeps interactions in half precision
    ours[1:] = seen[1:]
    with torch.no_grad():
        theirs = session.network(seen[None])
    assert theirs.std() > 0.01
    assert (trainer.predict(ours[None]) - theirs).abs().max() < 1e-4


def test_all_weights_arrive(make, start_folder):
    trainer = make()
    trainer.initialize()
    weights, loaded = load_start_model(start_folder).weights, trainer.network.state_dict()
    assert weights.keys() == loaded.keys()
    assert all(torch.equal(weights[name], loaded[name]) for name in weights)


def test_settings_are_the_models_unless_the_config_says_otherwise(make, settings):
    settings(num_epochs=200)
    config = make().config
    assert (config.point_radius, config.scribble_thickness, config.interaction_decay) == (3, 3, 0.9)
    assert config.interactions == {"point": 0.4, "scribble": 0.2}
    assert (config.initial_lr, config.warmup_epochs) == (0.001, 10)
    trainer = make()
    trainer.initialize()
    rates = []
    for epoch in (0, 9, 10, 199):
        trainer.lr_scheduler.step(epoch)
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(rates[:3], [1e-4, 1e-3, 1e-3])
    assert rates[3] < 2e-5
    settings(point_radius=5, interaction_decay=None, interactions={"lasso": 1}, initial_lr=0.02, warmup_epochs=0)
    trainer = make()
    assert (trainer.config.point_radius, trainer.config.interaction_decay) == (5, 0.9)  # null counts as left out
    assert trainer.config.interactions == {"lasso": 1}
    assert (trainer.initial_lr, trainer.config.warmup_epochs) == (0.02, 0)
    assert trainer.objective.user.scribble_thickness == 3
    said = " ".join(trainer._notes)
    assert "the config's point_radius is 5; the start model was trained with 3" in said
    assert "doesn't know lasso" in said


def test_a_training_of_one_epoch_has_no_warm_up(make, settings):
    settings(num_epochs=7)
    assert make(name="SupervoxelPromptTrainer_1epoch").config.warmup_epochs == 0
    assert make().config.warmup_epochs == 1
    settings(num_epochs=7, warmup_epochs=3)
    with pytest.raises(UserError, match="_1epoch: 'warmup_epochs' is 3: it must be less than num_epochs"):
        make(name="SupervoxelPromptTrainer_1epoch")


def test_other_weights_beside_the_models(make, settings, run, nnunet_folders, tmp_path):
    """nnU-Net loads what -pretrained_weights names over them."""
    settings(num_epochs=1)
    trainer = make()
    trainer.initialize()
    with torch.no_grad():
        for parameter in trainer.network.parameters():
            parameter.mul_(1.5)
    trainer.save_checkpoint(str(tmp_path / "other.pth"))
    results = Path(trainer.output_folder)
    shutil.rmtree(results)
    training = ("995", "3d_fullres", "all", "-tr", "SupervoxelPromptTrainer", "-p", PLANS, "-device", "cpu")
    done = run("nnUNetv2_train", *training, "-pretrained_weights", tmp_path / "other.pth")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("Error: The training begins with two sets of weights")
    assert not results.exists()


def test_scribbles_of_another_thickness_along_each_axis(start_folder, tmp_path):
    folder = copy(start_folder, tmp_path)
    info = json.loads((folder / "inference_info.json").read_text())
    (folder / "inference_info.json").write_text(json.dumps(info | {"preferred_scribble_thickness": [1, 2, 2]}))
    model = load_start_model(folder)
    with pytest.raises(UserError, match="set 'scribble_thickness'"):
        with_settings_of(model, PromptTrainingConfig())
    assert with_settings_of(model, PromptTrainingConfig(scribble_thickness=2))[0].scribble_thickness == 2


@pytest.mark.parametrize(("plans", "words"), [("nnUNetPlans", "the network is PlainConvUNet with 32/64")])
def test_plans_that_are_not_the_models(make, plans, words):
    with pytest.raises(UserError, match=f"aren't made for it: {words}.*nnUNetv2_supervoxel_start_from"):
        make(plans)


def test_a_model_that_is_gone(make, settings):
    settings(start_from="/nowhere/model")
    with pytest.raises(UserError, match="/nowhere/model isn't a model folder"):
        make()


def test_going_on_with_the_settings_that_the_training_left(make, settings, start_folder, monkeypatch, tmp_path):
    """In a new shell, and in another folder than the one from which the start model was named."""
    monkeypatch.chdir(start_folder.parent)
    settings(start_from=start_folder.name, num_epochs=40)
    first = make()
    first.on_train_start()
    first.save_checkpoint(str(Path(first.output_folder) / "checkpoint_latest.pth"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(CONFIG_VARIABLE)
    with pytest.raises(UserError, match="start_from") as told:
        maybe_load_checkpoint(make(), True, False)
    for name in ("initial_lr", "warmup_epochs", "point_radius", "scribble_thickness", "interaction_decay"):
        assert name in str(told.value)
    monkeypatch.setenv(CONFIG_VARIABLE, str(Path(first.output_folder) / "prompt_training.json"))
    again = make()
    maybe_load_checkpoint(again, True, False)
    assert again.config == first.config
    assert again.start_network() is not None
    assert "other settings than in" not in Path(again.log_file).read_text()


def test_the_start_models_share_is_mixed_in_once(make, settings, start_folder):
    settings(start_share=0.25)
    start = load_start_model(start_folder).weights
    trainer = make()
    trainer.initialize()
    with torch.no_grad():
        for weights in trainer.network.parameters():
            weights += 2
    trainer.on_train_end()
    assert_ahead_of(start, trainer.network, 1.5)
    final = torch.load(Path(trainer.output_folder) / "checkpoint_final.pth", weights_only=False)["network_weights"]
    again = make()
    maybe_load_checkpoint(again, True, False)
    for _ in range(2):  # nnU-Net ends a finished training once more with each --c
        again.on_train_end()
        assert_ahead_of(start, again.network, 1.5)
        assert all(torch.equal(final[name], weights) for name, weights in again.network.state_dict().items())
    again.on_train_epoch_start()  # more epochs were asked for
    again.on_train_end()
    assert_ahead_of(start, again.network, 1.5 * 0.75)


def assert_ahead_of(start, network, by):
    parameters = dict(network.named_parameters())
    assert len(parameters.keys() & start.keys()) > 10
    for name in parameters.keys() & start.keys():
        torch.testing.assert_close(parameters[name].detach(), start[name] + by)


def test_a_share_of_no_start_model_is_refused():
    with pytest.raises(ValueError, match="'start_share' needs a start model"):
        PromptTrainingConfig(start_share=0.5)


def copy(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_train_validate_resume_export(prepared, settings, monkeypatch, run, tmp_path, start_folder, nnunet_folders):
    """What a user does: train, see gain and loss for every label, go on, and open the result in the session."""
    monkeypatch.setattr(PromptLogger, "plot_progress_png", lambda self, folder: None)
    settings(num_epochs=2, real_label_fraction=0.5, initial_lr=0.05)
    run_training("995", "3d_fullres", "all", "SupervoxelPromptTrainer", PLANS, device=CPU)
    (fold,) = (tmp_path / "results").glob("*/*/fold_all")
    summary = json.loads((fold / "validation" / "summary.json").read_text())
    start = summary["start"]
    assert set(summary["by_label"]) == set(start["by_label"]) == {"even", "odd"}
    pairs = []
    for case, results in summary["cases"].items():
        pairs += zip(start["cases"][case], results, strict=True)
    assert len(pairs) > 5
    for before, now in pairs:
        assert [before[key] for key in ("source", "key", "centre", "voxels")] == [
            now[key] for key in ("source", "key", "centre", "voxels")
        ]
        assert before["interactions"][0] == now["interactions"][0]
    assert any(before["dice"] != now["dice"] for before, now in pairs)  # two steps at a high rate change something
    log = "\n".join(path.read_text() for path in fold.glob("training_log_*.txt"))
    assert "Dice of the start model -> now, even (" in log
    assert f"started from {start_folder}" in log
    # The start model's curve is that of its own weights, whatever was trained.
    settings(num_epochs=3, real_label_fraction=0.5, initial_lr=0.05)
    run_training("995", "3d_fullres", "all", "SupervoxelPromptTrainer", PLANS, device=CPU, continue_training=True)
    again = json.loads((fold / "validation" / "summary.json").read_text())
    assert again["start"] == start
    assert again["cases"] != summary["cases"]

    names = ("-d", 995, "-p", PLANS, "--format", "nninteractive")
    done = run("nnUNetv2_supervoxel_export", *names, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "the licence is that of the start model" in done.stderr
    assert "resampled" not in done.stderr
    assert (tmp_path / "out" / "LICENSE").read_text() == "CC BY-NC-SA 4.0\nThe whole text.\n"
    session = session_of(tmp_path / "out")
    assert session.license == "CC BY-NC-SA 4.0"
    assert (session.point_interaction.point_radius, session.preferred_scribble_thickness) == (3, [3, 3, 3])
    assert session.supported_interactions["points"]
    assert not session.supported_interactions["lasso"]
