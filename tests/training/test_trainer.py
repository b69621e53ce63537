"""SupervoxelPromptTrainer: trainings as users start them, and what a step is made of."""

import json
import shutil

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from nnunetv2.run.run_training import run_training

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.prompts.encoding import add_interaction
from nnunetv2_supervoxel.prompts.point import point_at
from nnunetv2_supervoxel.training.dataset import UNKNOWN, PromptDataset
from nnunetv2_supervoxel.training.logger import METRICS, PromptLogger

CPU = torch.device("cpu")
PATCH = (16, 24, 32)


def train(trainer="SupervoxelPromptTrainer", configuration="3d_tiny", fold="all", **options):
    run_training("997", configuration, fold, trainer, device=CPU, **options)


def log_of(folder):
    return "\n".join(path.read_text() for path in sorted(folder.glob("training_log_*.txt")))


def test_a_training_from_start_to_end(prompt_training):
    results = prompt_training(num_epochs=2)
    train()
    fold = results / "SupervoxelPromptTrainer__nnUNetPlans__3d_tiny" / "fold_all"
    checkpoint = torch.load(fold / "checkpoint_final.pth", weights_only=False)
    assert checkpoint["trainer_name"] == "SupervoxelPromptTrainer"
    assert checkpoint["current_epoch"] == 2
    weights = checkpoint["network_weights"]
    assert weights["encoder.stages.0.0.convs.0.conv.weight"].shape[1] == 1 + 7
    assert weights["decoder.seg_layers.1.weight"].shape[0] == 2
    for metric in METRICS:
        assert len(checkpoint["logging"][metric]) == 2
    assert 0 <= checkpoint["logging"]["dice_first_prompt"][-1] <= 1
    assert json.loads((fold / "prompt_training.json").read_text())["max_rounds"] == 2
    assert "Dice after 1 -> 2 prompts: all 0." in log_of(fold)
    height, width, _ = plt.imread(fold / "progress.png").shape
    assert height > 2 * width  # nnU-Net's three panels and ours below
    assert_validated(fold / "validation")


def assert_validated(folder):
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary["cases"]) == {f"case{number}" for number in range(4)}  # the fifth has no supervoxels
    assert set(summary["mean"]) == {"supervoxel", "label"}
    for results in summary["cases"].values():
        assert {result["source"] for result in results} == {"supervoxel", "label"}
        for result in results:
            assert len(result["dice"]) == len(result["interactions"]) == 5
            assert result["interactions"][0].endswith("+")
            assert 0 < result["share_in_patch"] <= 1
    first = [r["dice"] for results in summary["cases"].values() for r in results if r["source"] == "label"]
    np.testing.assert_allclose(summary["mean"]["label"]["dice"], np.mean(first, axis=0))
    assert plt.imread(folder / "dice_over_interactions.png").shape[0] > 100
    page = (folder / "report.html").read_text()
    assert page.count("<tr data-findings=") == sum(map(len, summary["cases"].values()))
    assert page.count('<img src="data:image/webp') == 12  # the six worst and the six best objects


@pytest.fixture
def no_plot(monkeypatch):
    """nnU-Net's plot of 30 by 54 inches takes longer than a tiny epoch."""
    monkeypatch.setattr(PromptLogger, "plot_progress_png", lambda self, folder: None)


@pytest.mark.usefixtures("no_plot")
def test_continuing_and_validating_again(prompt_training):
    results = prompt_training(num_epochs=1)
    train()
    fold = results / "SupervoxelPromptTrainer__nnUNetPlans__3d_tiny" / "fold_all"
    summary = fold / "validation" / "summary.json"
    before = summary.read_text()
    shutil.rmtree(fold / "validation")
    train(only_run_validation=True)
    assert summary.read_text() == before  # the same prompts for the same network

    prompt_training(num_epochs=3)
    train(continue_training=True)
    log = torch.load(fold / "checkpoint_final.pth", weights_only=False)["logging"]
    assert len(log["train_losses"]) == len(log["dice_last_prompt_lasso"]) == 3
    assert summary.read_text() != before


def test_the_command_trains_a_fold_with_workers(prompt_training, run):
    results = prompt_training()
    done = run(
        *("nnUNetv2_train", 997, "3d_tiny", 0, "-tr", "SupervoxelPromptTrainer_1epoch", "-device", "cpu"),
        nnUNet_n_proc_DA="1",
        PYTHONWARNINGS="default",
    )
    assert done.returncode == 0, done.stderr
    fold = results / "SupervoxelPromptTrainer_1epoch__nnUNetPlans__3d_tiny" / "fold_0"
    assert len(json.loads((fold / "validation" / "summary.json").read_text())["cases"]) == 1
    assert done.stderr.count("1 of 4 cases have no supervoxels") == 1
    assert "-d 997 -p nnUNetPlans -c 3d_tiny" in done.stderr


def test_the_command_tells_what_is_wrong_with_a_config(prompt_training, run, tmp_path):
    prompt_training()
    config = tmp_path / "wrong.yaml"
    config.write_text("max_rounds: many\n")
    done = run(
        *("nnUNetv2_train", 997, "3d_tiny", "all", "-tr", "SupervoxelPromptTrainer", "-device", "cpu"),
        nnUNet_supervoxel_training_config=str(config),
    )
    assert done.returncode == 1
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert str(config) in told
    assert "max_rounds" in told
    assert "Traceback" not in done.stderr


def test_one_bad_case_does_not_end_the_validation(prompt_training, make_trainer, monkeypatch):
    results = prompt_training()
    trainer = make_trainer()
    opened = PromptDataset.open_case

    def failing(self, case):
        if case == "case2":
            raise UserError("case2 is broken")
        return opened(self, case)

    monkeypatch.setattr(PromptDataset, "open_case", failing)
    trainer.perform_actual_validation()
    fold = next(results.glob("*/fold_all"))
    summary = json.loads((fold / "validation" / "summary.json").read_text())
    assert summary["cases"]["case2"] == []
    assert summary["cases"]["case1"]
    assert "case2 is left out of the validation: case2 is broken" in log_of(fold)


def test_the_validation_keeps_the_pictures_that_are_shown(make_trainer, prompt_training):
    """Each object's picture is 20 kB, and all of them would go from process to process."""
    prompt_training(validation_objects_per_case=2, validation_interactions=1)
    objective = make_trainer().objective
    dataset = objective.trainer.open_validation_dataset()

    def nothing(data):
        return torch.stack([torch.ones_like(data[:, 0]), torch.zeros_like(data[:, 0])], dim=1)

    results = objective._results(dataset, nothing, lambda *_: b"picture")
    objects = [one for case in results.values() for one in case]
    assert len(objects) > 12
    assert [bool(one.picture) for one in objects] == [True] * 6 + [False] * (len(objects) - 12) + [True] * 6


@pytest.mark.parametrize(
    ("name", "epochs"), [("_1epoch", 1), ("_5epochs", 5), ("_100epochs", 100), ("_500epochs", 500)]
)
def test_trainers_named_after_a_length(make_trainer, prompt_training, name, epochs):
    prompt_training(num_epochs=7)
    assert make_trainer(f"SupervoxelPromptTrainer{name}", initialize=False).num_epochs == epochs
    assert make_trainer(initialize=False).num_epochs == 7


def test_settings_reach_the_trainer(make_trainer, prompt_training):
    prompt_training(batch_size=3, initial_lr=0.5, num_iterations_per_epoch=11, interactions={"box": 1}, point_radius=2)
    trainer = make_trainer()
    assert trainer.batch_size == 3
    assert trainer.optimizer.param_groups[0]["lr"] == 0.5
    assert trainer.num_iterations_per_epoch == 11
    assert trainer.objective.user.kinds == ["box"]
    assert trainer.objective.user.point_radius == 2


@pytest.mark.parametrize(
    ("augmentation", "mirrored", "otherwise"),
    [("nnunet", True, True), ("mirroring", True, False), ("none", False, False)],
)
def test_augmentation_does_what_it_is_told(make_trainer, prompt_training, augmentation, mirrored, otherwise):
    prompt_training(augmentation=augmentation, max_patch_shift=0, min_target_voxels=1)
    trainer = make_trainer()
    loader, _ = (augmenter.data_loader for augmenter in trainer.get_dataloaders())
    torch.manual_seed(0)
    turned = torch.arange(np.prod(loader.patch_size), dtype=torch.float32).reshape(1, *loader.patch_size)
    nothing = torch.zeros(1, *loader.patch_size, dtype=torch.int16)
    seen = [loader.transforms(image=turned.clone(), segmentation=nothing)["image"] for _ in range(20)]
    if otherwise:
        assert tuple(loader.patch_size) != PATCH, "to turn and scale, more is read than is used"
        return
    axes = [(), (1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)]
    ways = {next(way for way in axes if torch.equal(image, turned.flip(way))) for image in seen}
    assert (len(ways) > 3) == mirrored
    assert (trainer.inference_allowed_mirroring_axes is not None) == mirrored


def test_bfloat16_on_a_cpu_reaches_the_network_and_still_learns(make_trainer, prompt_training):
    prompt_training(cpu_bfloat16=True, max_rounds=2, initial_lr=0.02)
    trainer = make_trainer()
    kinds = set()
    trainer.network.encoder.stages[0].register_forward_hook(lambda _, __, output: kinds.add(output.dtype))
    torch.manual_seed(0)
    batch = batch_with_cubes()
    losses = [float(trainer.train_step(batch)["loss"]) for _ in range(40)]
    trainer.on_validation_epoch_start()
    trainer.validation_step(batch)
    assert kinds == {torch.bfloat16}
    assert all(parameter.dtype == torch.float32 for parameter in trainer.network.parameters())
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3


class Recorder(torch.nn.Module):
    """The trainer's network, with a diary of its inputs."""

    def __init__(self, network):
        super().__init__()
        self.network, self.inputs, self.with_gradient = network, [], []
        self.decoder = network.decoder

    def forward(self, data):
        self.inputs.append(data.detach().clone())
        self.with_gradient.append(torch.is_grad_enabled())
        return self.network(data)


def batch_with_cubes():
    image = torch.randn(2, 1, *PATCH)
    target = torch.zeros(2, 1, *PATCH, dtype=torch.int16)
    target[0, 0, 3:9, 4:14, 5:20] = 1
    target[1, 0, 6:14, 10:20, 12:29] = 1
    return {"data": image, "target": [target, target[:, :, ::2, ::2, ::2]], "keys": ["a", "b"]}


def test_a_step_runs_up_to_max_rounds_and_learns_from_the_last(make_trainer, prompt_training):
    prompt_training(max_rounds=4, interactions={"point": 1.0}, interaction_decay=0.5)
    trainer = make_trainer()
    trainer.network = Recorder(trainer.network)
    lengths = set()
    for _ in range(25):
        trainer.network.inputs.clear()
        trainer.network.with_gradient.clear()
        batch = batch_with_cubes()
        trainer.train_step(batch)
        count = len(trainer.network.inputs)
        lengths.add(count)
        assert trainer.network.with_gradient == [False] * (count - 1) + [True]
        for number, seen in enumerate(trainer.network.inputs):
            assert seen.shape == (2, 8, *PATCH)
            assert torch.equal(seen[:, :1], batch["data"])
            assert set(seen[:, 1].unique().tolist()) <= {0, 1}
            assert seen[:, 4:6].amax(dim=(1, 2, 3, 4)).tolist() == [1, 1]  # the newest point at full strength
            assert not seen[:, [2, 3, 6, 7]].any()
            if number == 0:
                assert not seen[:, 1].any()
                assert not seen[:, 5].any()  # the first prompt is positive
    assert lengths == {1, 2, 3, 4}


def test_a_small_object_counts_as_much_as_a_large_one(make_trainer):
    trainer = make_trainer(configuration="3d_wide")  # nnU-Net would take Dice over the batch
    target = torch.zeros(2, 1, 24, 32, 40)
    target[0, 0, 2:20, 3:29, 4:36] = 1
    target[1, 0, 5:8, 6:9, 7:10] = 1
    found = target[:, 0] * torch.tensor([1.0, 0.0])[:, None, None, None]  # the small one is missed
    logits = 20 * torch.stack([1 - found, found], dim=1)
    assert float(trainer.loss.loss.dc(logits, target)) == pytest.approx(-0.5, abs=0.01)


def test_older_prompts_fade_during_a_step(make_trainer, prompt_training):
    prompt_training(max_rounds=3, interactions={"point": 1.0}, interaction_decay=0.5)
    trainer = make_trainer()
    rounds = trainer.objective._rounds(batch_with_cubes())
    centres = []
    for _ in range(3):
        rounds.prompt()
        centres.append(rounds.given[0][-1].centre)
        rounds.observe(torch.stack([torch.zeros(2, *PATCH), torch.full((2, *PATCH), -1.0)], dim=1))  # nothing found
    channel = rounds.input[0, 4]
    fresh = torch.zeros(PATCH)
    for age, centre in enumerate(reversed(centres)):
        stamp = point_at(centre, True)
        alone = torch.zeros(7, *PATCH)
        add_interaction(alone, stamp, 1.0)
        fresh = torch.maximum(fresh, alone[3] * 0.5**age)
    torch.testing.assert_close(channel, fresh)


def test_the_previous_prediction_is_shown_to_the_network(make_trainer):
    rounds = make_trainer().objective._rounds(batch_with_cubes())
    rounds.prompt()
    logits = torch.randn(2, 2, *PATCH)
    rounds.observe(logits)
    assert torch.equal(rounds.input[:, 1], (logits[:, 1] > logits[:, 0]).float())


def test_it_learns_an_object_by_heart(make_trainer, prompt_training):
    prompt_training(max_rounds=1, initial_lr=0.02)
    trainer = make_trainer()
    torch.manual_seed(0)
    batch = batch_with_cubes()
    losses = [float(trainer.train_step(batch)["loss"]) for _ in range(40)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3


def test_validation_takes_the_types_in_turn(make_trainer, prompt_training):
    prompt_training(interactions={"point": 1.0, "lasso": 0.1, "box": 0.0})
    trainer = make_trainer()
    trainer.on_validation_epoch_start()
    outputs = [trainer.validation_step(batch_with_cubes()) for _ in range(2)]
    assert [entry[0] for output in outputs for entry in output["prompts"]] == ["point", "lasso", "point", "lasso"]
    trainer.on_validation_epoch_end(outputs)
    logged = trainer.logger.get_value
    assert np.isnan(logged("dice_first_prompt_box", -1))
    values = [logged(f"dice_last_prompt_{kind}", -1) for kind in ("point", "lasso")]
    np.testing.assert_allclose(np.mean(values), logged("dice_last_prompt", -1))


def test_validation_dice_is_that_of_the_predictions(make_trainer):
    trainer = make_trainer()
    batch = batch_with_cubes()
    answers = torch.nn.functional.one_hot(batch["target"][0][:, 0].long(), 2).movedim(-1, 1).float()
    answers[0, :, :6] = torch.tensor([1.0, 0.0])[:, None, None, None]  # half of the first object is missed

    class Oracle(torch.nn.Module):
        def forward(self, data):
            return [answers, answers[:, :, ::2, ::2, ::2]]

    trainer.network = Oracle()
    trainer.objective._validated = 0
    output = trainer.validation_step(batch)
    np.testing.assert_allclose([entry[2] for entry in output["prompts"]], [2 / 3, 1.0])
    voxels = [6 * 10 * 15, 8 * 10 * 17]
    assert output["tp_hard"] == [voxels[0] / 2 + voxels[1]]
    assert output["fn_hard"] == [voxels[0] / 2]
    assert output["fp_hard"] == [0]


@pytest.fixture
def ignore_label(prompt_dataset):
    """The dataset has an ignore label for a while."""
    path = prompt_dataset / "dataset.json"
    before = path.read_text()
    content = json.loads(before)
    number = 1 + max(content["labels"].values())
    path.write_text(json.dumps(content | {"labels": content["labels"] | {"ignore": number}}))
    yield number
    path.write_text(before)


@pytest.mark.parametrize("real_label_fraction", [0.0, 0.5])
def test_what_labels_leave_unknown_teaches_nothing(make_trainer, prompt_training, ignore_label, real_label_fraction):
    """Where no supervoxels are, labels are validated, whatever the fraction."""
    prompt_training(real_label_fraction=real_label_fraction, max_rounds=1)
    trainer = make_trainer()
    assert trainer.open_validation_dataset().open_case("case0").ignore_label == ignore_label
    batch = batch_with_cubes()
    for scale in batch["target"]:
        scale[:, :, :2] = UNKNOWN
    outputs = [torch.randn(2, 2, *scale.shape[2:], requires_grad=True) for scale in batch["target"]]
    trainer.loss(outputs, batch["target"]).backward()
    unknown = (batch["target"][0] == UNKNOWN).expand_as(outputs[0])
    assert not outputs[0].grad[unknown].any()
    assert outputs[0].grad[~unknown].all()

    everything = [torch.stack([torch.zeros_like(o[:, 0]), torch.ones_like(o[:, 0])], dim=1) for o in outputs]
    trainer.network = lambda data: everything
    trainer.objective.on_validation_epoch_start()
    output = trainer.validation_step(batch)
    inside = int((batch["target"][0] == 1).sum())
    assert [int(output[name][0]) for name in ("tp_hard", "fn_hard")] == [inside, 0]
    assert int(output["fp_hard"][0]) == int((batch["target"][0] == 0).sum())
    known = [int((target != UNKNOWN).sum()) for target in batch["target"][0]]
    voxels = [int((target == 1).sum()) for target in batch["target"][0]]
    dice = [2 * v / (v + k) for v, k in zip(voxels, known, strict=True)]
    np.testing.assert_allclose([first for _, first, _ in output["prompts"]], dice)


@pytest.mark.usefixtures("no_plot")
def test_a_patch_larger_than_the_images(prompt_training):
    results = prompt_training()
    train("SupervoxelPromptTrainer_1epoch", "3d_wide")
    summary = json.loads(next(results.glob("*3d_wide/fold_all/validation/summary.json")).read_text())
    assert all(result["share_in_patch"] == 1 for results in summary["cases"].values() for result in results)


def test_further_datasets_are_drawn_from(make_trainer, prompt_training, prompt_dataset):
    other = prompt_dataset.with_name("Dataset980_More")
    shutil.copytree(prompt_dataset, other, dirs_exist_ok=True)
    for folder in (other / "nnUNetPlans_3d_fullres", other / "nnUNetPlans_3d_fullres_supervoxels"):
        for path in folder.iterdir():
            path.rename(path.with_name(path.name.replace("case", "more")))
    prompt_training(datasets={"980": 3.0})
    loader, validation = make_trainer().get_dataloaders()
    keys = [key for _ in range(30) for key in next(loader)["keys"]]
    assert 30 < sum(key.startswith("more") for key in keys) < 55
    assert all(key.startswith("case") for _ in range(5) for key in next(validation)["keys"])

    description = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps(description | {"channel_names": {"0": "T1", "1": "T2"}}))
    with pytest.raises(UserError, match=r"980, whose images have 2 channel\(s\)"):
        make_trainer().get_dataloaders()
    shutil.rmtree(other)
    with pytest.raises(UserError, match="names dataset 980: There is no dataset 980"):
        make_trainer().get_dataloaders()


@pytest.fixture
def hide_supervoxels(prompt_dataset):
    """Let cases be without supervoxels for a while: `hide_supervoxels("case1", "case3")`."""
    folder = prompt_dataset / "nnUNetPlans_3d_fullres_supervoxels"
    aside = folder.with_name("hidden")
    aside.mkdir()

    def hide(*cases):
        for case in cases:
            for path in folder.glob(f"{case}.*"):
                path.rename(aside / path.name)

    yield hide
    for path in aside.iterdir():
        path.rename(folder / path.name)
    aside.rmdir()


@pytest.mark.usefixtures("no_plot")
def test_a_training_on_real_labels_needs_no_supervoxels(prompt_training, hide_supervoxels):
    results = prompt_training(real_label_fraction=1.0)
    hide_supervoxels(*(f"case{number}" for number in range(5)))
    train("SupervoxelPromptTrainer_1epoch")
    summary = json.loads(next(results.glob("*/fold_all/validation/summary.json")).read_text())
    assert set(summary["mean"]) == {"label"}
    assert list(summary["cases"]) == [f"case{number}" for number in range(5)]
    assert all(summary["cases"].values())


@pytest.mark.usefixtures("no_plot")
def test_validation_cases_with_labels_need_no_supervoxels(
    prompt_training, make_trainer, hide_supervoxels, prompt_dataset
):
    results = prompt_training()
    make_trainer(fold=0).do_split()  # makes the folds
    validation = json.loads((prompt_dataset / "splits_final.json").read_text())[0]["val"]
    hide_supervoxels(*validation)
    train("SupervoxelPromptTrainer_1epoch", fold=0)
    summary = json.loads(next(results.glob("*/fold_0/validation/summary.json")).read_text())
    assert set(summary["mean"]) == {"label"}
    assert list(summary["cases"]) == validation


def test_naming_needs_supervoxels_in_validation_too(pretraining, make_trainer, hide_supervoxels, prompt_dataset):
    make_trainer("SupervoxelPretrainTrainer", fold=0).do_split()  # makes the folds
    hide_supervoxels(*json.loads((prompt_dataset / "splits_final.json").read_text())[0]["val"])
    with pytest.raises(UserError, match="None of 1 cases has supervoxels in"):
        make_trainer("SupervoxelPretrainTrainer", fold=0).get_dataloaders()


def test_no_supervoxels_names_the_generate_command(make_trainer, prompt_dataset, monkeypatch):
    supervoxels = prompt_dataset / "nnUNetPlans_3d_fullres_supervoxels"
    supervoxels.rename(supervoxels.with_name("hidden"))
    try:
        with pytest.raises(UserError, match="nnUNetv2_supervoxel_generate -d 997 -p nnUNetPlans -c 3d_tiny"):
            make_trainer().get_dataloaders()
    finally:
        supervoxels.with_name("hidden").rename(supervoxels)


def test_wrong_settings(make_trainer, prompt_training):
    prompt_training(max_round=3)
    with pytest.raises(UserError, match=r"prompt_training\.yaml is wrong: unknown key 'max_round'"):
        make_trainer(initialize=False)


def test_2d_plans(make_trainer):
    with pytest.raises(UserError, match="'2d' is 2D, but prompts are trained in 3D; take 3d_fullres"):
        make_trainer(configuration="2d", initialize=False)


def test_a_configuration_that_does_not_exist(make_trainer):
    with pytest.raises(UserError, match="no configuration '3d_huge'"):
        make_trainer(configuration="3d_huge", initialize=False)
