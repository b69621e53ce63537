"""Naming the classes of supervoxels: the loss, and steps of SupervoxelPretrainTrainer."""

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.training.dataset import UNKNOWN
from nnunetv2_supervoxel.training.features import outputs_of
from nnunetv2_supervoxel.training.rounds import without_prompts
from nnunetv2_supervoxel.training.supervoxel_classes import OUTSIDE

TRAINER = "SupervoxelPretrainTrainer"
FEW_CLASSES = {"objective_settings": {"classes": 5}}


def test_steps_without_prompts_learn_to_name_supervoxels(make_trainer, pretraining):
    pretraining(**FEW_CLASSES, optimizer="adamw", initial_lr=0.01, augmentation="none")
    trainer = make_trainer(TRAINER)
    batch = next(trainer.get_dataloaders()[0])
    assert "target" not in batch
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    usual = trainer.loss
    losses = [float(trainer.train_step(batch)["loss"]) for _ in range(100)]
    assert losses[-1] < losses[0] - 1.2
    assert trainer.loss is usual
    after = trainer.network.state_dict()
    # The outputs for prompts, and the weights of prompts, have nothing to learn from but weight decay.
    name = "encoder.stages.0.0.convs.0.conv.weight"
    now, then = after[name][:, :1], before[name][:, :1]
    assert not torch.allclose(now / now.norm(), then / then.norm(), atol=1e-2)
    for unused in (lambda weights: weights[name][:, 1:], lambda weights: weights["decoder.seg_layers.1.weight"]):
        now, then = unused(after), unused(before)
        torch.testing.assert_close(now / now.norm(), then / then.norm(), atol=1e-5, rtol=0)
    # What was learned is what the batch says: most voxels of supervoxels get their own class at full resolution.
    with outputs_of(trainer.network.decoder.stages) as features, torch.no_grad():
        trainer.network(without_prompts(batch["data"]))
        named = trainer.network.objective_heads(features)[0].argmax(1)
    classes = batch["classes"][0][:, 0]
    inside = (classes != OUTSIDE) & (classes != UNKNOWN)
    assert float((named == classes)[inside].float().mean()) > 0.7


@pytest.mark.parametrize("deep", [True, False])
def test_unknown_voxels_teach_nothing(make_trainer, pretraining, deep):
    pretraining()
    trainer = make_trainer(TRAINER)
    usual = nnUNetTrainer._build_loss(trainer)
    usual = usual if deep else usual.loss
    torch.manual_seed(0)
    shapes = [(8, 12, 10), (4, 6, 5)] if deep else [(8, 12, 10)]
    outputs = [torch.randn(2, 4, *shape, requires_grad=True) for shape in shapes]
    classes = [torch.randint(0, 4, (2, 1, *shape)).to(torch.int16) for shape in shapes]
    known = [scale.clone() for scale in classes]
    for scale in classes:
        scale[:, :, ::2, 1] = UNKNOWN
    trainer.objective.loss(usual)(*((outputs, classes) if deep else (outputs[0], classes[0]))).backward()
    unknown = (classes[0] == UNKNOWN).expand_as(outputs[0])
    assert torch.equal(outputs[0].grad[unknown], torch.zeros(int(unknown.sum())))
    assert (outputs[0].grad[~unknown] != 0).all()
    outputs[0].grad = None
    usual(*((outputs, known) if deep else (outputs[0], known[0]))).backward()
    assert (outputs[0].grad[unknown] != 0).all()  # nnU-Net's own loss sees them


def test_validation_counts_the_voxels_of_every_class(make_trainer, pretraining):
    pretraining(**FEW_CLASSES, optimizer="adamw", initial_lr=0.01, augmentation="none")
    trainer = make_trainer(TRAINER)
    trainer.on_train_start()
    train, batch = next(trainer.dataloader_train), next(trainer.dataloader_val)
    assert "target" not in batch
    for _ in range(30):
        trainer.train_step(train)
    trainer.network.eval()
    with outputs_of(trainer.network.decoder.stages) as features, torch.no_grad():
        trainer.network(without_prompts(batch["data"]))
        named = trainer.network.objective_heads(features)[0].argmax(1)
    true = batch["classes"][0][:, 0]
    output = trainer.validation_step(batch)
    inside = true != UNKNOWN
    for number in range(1, 6):
        here, said = true == number, inside & (named == number)
        found = [int(output[name][number - 1]) for name in ("tp_hard", "fp_hard", "fn_hard")]
        assert found == [int(x.sum()) for x in (here & said, ~here & said, here & ~said)]
    assert output["tp_hard"].sum() > 0
    assert output["fp_hard"].sum() > 0
    said = []
    trainer.print_to_log_file = lambda *text, **_: said.append(" ".join(map(str, text)))
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    trainer.on_train_epoch_end([trainer.train_step(train)])
    trainer.on_validation_epoch_start()
    trainer.on_validation_epoch_end([trainer.validation_step(batch)])
    trainer.on_epoch_end()
    assert 0 < trainer.logger.get_value("mean_fg_dice", step=-1) < 1
    assert not any("prompts:" in text for text in said)
    trainer.perform_actual_validation()
    assert "no curves to validate" in said[-1]
    assert not list(Path(trainer.output_folder).glob("validation*"))
    height, width, _ = plt.imread(Path(trainer.output_folder) / "progress.png").shape
    assert height < 2 * width  # nnU-Net's three panels, and no empty one for prompts


def test_a_training_goes_on_with_its_heads(make_trainer, pretraining, tmp_path):
    pretraining(**FEW_CLASSES)
    trainer = make_trainer(TRAINER)
    trainer.save_checkpoint(str(tmp_path / "checkpoint.pth"))
    resumed = make_trainer(TRAINER)
    head = "objective_heads.seg_layers.0.weight"
    assert not torch.equal(resumed.network.state_dict()[head], trainer.network.state_dict()[head])
    resumed.load_checkpoint(str(tmp_path / "checkpoint.pth"))
    torch.testing.assert_close(resumed.network.state_dict()[head], trainer.network.state_dict()[head])
    assert resumed.network.state_dict()[head].shape[0] == 6  # no class, and five


def test_the_command_trains_and_the_export_leaves_the_heads_behind(pretraining, run, tmp_path):
    results = pretraining(**FEW_CLASSES)
    trainer = f"{TRAINER}_1epoch"
    done = run("nnUNetv2_train", 997, "3d_tiny", "all", "-tr", trainer, "-device", "cpu", nnUNet_n_proc_DA="1")
    assert done.returncode == 0, done.stderr
    fold = results / f"{trainer}__nnUNetPlans__3d_tiny" / "fold_all"
    trained = torch.load(fold / "checkpoint_final.pth", weights_only=False)
    assert trained["trainer_name"] == trainer
    assert trained["network_weights"]["objective_heads.seg_layers.0.weight"].shape[0] == 6
    assert json.loads((fold / "pretraining.json").read_text())["objective_settings"] == {"classes": 5}

    def export(to, path):
        what = ("-d", 997, "-c", "3d_tiny", "-tr", trainer, "-o", path, "--format", to)
        return run("nnUNetv2_supervoxel_export", *what)

    assert export("nnunet", tmp_path / "weights.pth").returncode == 0
    weights = torch.load(tmp_path / "weights.pth", weights_only=True)["network_weights"]
    expected = {name for name in trained["network_weights"] if not name.startswith("objective_heads.")}
    assert set(weights) == expected
    assert weights["encoder.stages.0.0.convs.0.conv.weight"].shape[1] == 1
    refused = export("nninteractive", tmp_path / "session")
    assert refused.returncode == 1
    assert "Error: This model was trained without prompts" in refused.stderr
    assert not (tmp_path / "session").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objective": "guessing"}, "no objective 'guessing' in the training config; take one of: naming"),
        ({"objective_settings": {"classes": 1}}, "'objective_settings' of naming in the training config are wrong"),
        ({"objective_settings": {"clases": 5}}, "unknown key 'clases', did you mean 'classes'? (known: classes)"),
        ({"max_rounds": 3}, "unknown key 'max_rounds'"),
    ],
)
def test_wrong_settings_are_told(pretraining, make_trainer, settings, words):
    results = pretraining(**settings)
    with pytest.raises(UserError, match=re.escape(words)):
        make_trainer(TRAINER, initialize=False)
    assert not results.exists(), "an output folder was left behind"
