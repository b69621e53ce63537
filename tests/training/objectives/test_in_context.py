"""Finding in one view what is shown in another: prototypes, the loss, and steps of SupervoxelPretrainTrainer."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nnunetv2_supervoxel.training.features import outputs_of
from nnunetv2_supervoxel.training.objectives.in_context import (
    InContext,
    InContextSettings,
    PrototypeHeads,
    _cases,
    masks_loss,
    prototypes_of,
    with_negatives,
)

TRAINER = "SupervoxelPretrainTrainer"


def test_a_prototype_is_the_mean_feature_of_a_mask():
    features = torch.zeros(1, 2, 2, 3, 4)
    features[0, 0, 0], features[0, 1, 1] = 1, 1  # the first slice points one way, the second another
    masks = torch.zeros(1, 3, 2, 3, 4, dtype=torch.bool)
    masks[0, 0, 0, 1:] = True
    masks[0, 1, :, 2] = True
    found, known = prototypes_of(features, masks)
    torch.testing.assert_close(found[0, :2], torch.tensor([[1, 0], [0.5**0.5, 0.5**0.5]]))
    assert known.tolist() == [[True, True, False]]


def test_negatives_are_known_masks_of_the_other_images():
    prototypes = torch.arange(6.0).reshape(3, 2, 1)
    known = torch.tensor([[True, True], [False, True], [True, False]])
    found, there = with_negatives(prototypes, known, 2, "abc")
    assert found[..., 0].tolist() == [[0, 1, 3, 4], [2, 3, 4, 0], [4, 5, 0, 1]]
    assert there.tolist() == [[True] * 4, [False, True, True, True], [True, False, True, True]]
    assert torch.equal(with_negatives(prototypes, known, 0, "abc")[0], prototypes)
    alone = prototypes[:1]  # a batch of one has no others
    assert torch.equal(with_negatives(alone, known[:1], 2, "a")[0], alone)


def test_negatives_are_of_other_cases():
    """Two patches of one case may overlap."""
    prototypes = torch.arange(6.0).reshape(3, 2, 1)
    found, there = with_negatives(prototypes, torch.ones(3, 2, dtype=torch.bool), 3, [(0, "a"), (0, "b"), (0, "a")])
    assert found[there].tolist() == [[0], [1], [2], [3], [2], [3], [4], [5], [0], [4], [5], [2], [3]]
    _, there = with_negatives(prototypes, torch.ones(3, 2, dtype=torch.bool), 3, [(0, "a"), (1, "a"), (2, "a")])
    assert there.all()  # of other datasets


def test_a_step_takes_no_negatives_of_its_own_case(make_trainer, pretraining):
    pretraining(objective="in_context", augmentation="none", batch_size=2)
    trainer = make_trainer(TRAINER)
    batch = next(trainer.get_dataloaders()[0])
    assert batch["datasets"] == [0, 0]
    trainer.network.eval()
    other = dict(batch, keys=["case0", "case1"])
    same = dict(batch, keys=["case0", "case0"])
    losses = [float(trainer.validation_step(one)["loss"]) for one in (other, same)]
    assert losses[0] != losses[1]
    trainer.objective.settings = trainer.objective.settings.model_copy(update={"negatives": 0})
    assert float(trainer.validation_step(other)["loss"]) == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.filterwarnings("ignore")  # of autocast, where a CPU has no float16
def test_large_masks_in_half_precision():
    torch.manual_seed(0)
    head = PrototypeHeads(SimpleNamespace(seg_layers=[torch.nn.Conv3d(3, 2, 1)])).seg_layers[0]
    stage = torch.ones(2, 3, 64, 64, 128) + 0.1 * torch.randn(2, 3, 64, 64, 128)
    masks = torch.zeros(2, 2, 64, 64, 128, dtype=torch.bool)
    masks[:, 0], masks[:, 1, :5] = True, True
    objective = InContext(None, InContextSettings())
    with torch.no_grad():
        exact = float(objective._at_one_scale(head, stage, masks, ["a"])[0])
        with torch.autocast("cpu", torch.float16):
            half = float(objective._at_one_scale(head, stage, masks, ["a"])[0])
    assert half == pytest.approx(exact, abs=1e-3)


def test_the_loss_counts_what_the_reference_shows_and_nothing_else():
    target = torch.zeros(1, 3, 2, 3, 4, dtype=torch.bool)
    target[0, 0, 0] = target[0, 2, 1] = True  # the second mask isn't in the query, the third not in the reference
    known = torch.tensor([[True, True, False]])
    right = torch.where(target, 20.0, -20.0)
    right[:, 2] *= -1
    assert float(masks_loss(right, target, known)) == pytest.approx(0, abs=1e-6)
    wrong = right.clone()
    wrong[:, 1] = 20
    assert float(masks_loss(wrong, target, known)) == pytest.approx(10, rel=1e-3)  # cross-entropy of 20, of two masks
    empty = right.clone()
    empty[:, 0] = -20
    assert float(masks_loss(empty, target, known)) == pytest.approx(10 / 2 + 1 - 1 / 13, rel=1e-3)


@pytest.mark.parametrize("configuration", ["3d_tiny", "3d_wide"])
def test_steps_learn_to_find_supervoxels_in_the_other_view(make_trainer, pretraining, configuration):
    pretraining(objective="in_context", optimizer="adamw", initial_lr=0.01, augmentation="mirroring", batch_size=2)
    trainer = make_trainer(TRAINER, configuration)
    batch = next(trainer.get_dataloaders()[0])
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    first = float(trainer.train_step(batch)["loss"])
    for _ in range(60):
        last = float(trainer.train_step(batch)["loss"])
    assert last < 0.6 * first
    trainer.network.eval()
    output = trainer.validation_step(batch)
    tp, fp, fn = (int(output[name][0]) for name in ("tp_hard", "fp_hard", "fn_hard"))
    assert 2 * tp / (2 * tp + fp + fn) > 0.7
    shown = batch["masks"][0] if isinstance(batch["masks"], list) else batch["masks"]
    known = (shown[:, 0] > 0).flatten(2).any(2)
    assert tp + fn == int((shown[:, 1] > 0)[known].sum())
    after = trainer.network.state_dict()
    name = "encoder.stages.0.0.convs.0.conv.weight"
    assert not torch.allclose(after[name][:, :1], before[name][:, :1], atol=1e-3)


def test_validation_looks_at_the_query_with_the_references_prototypes(make_trainer, pretraining):
    """Queries of other samples: nothing of what the reference shows is found."""
    pretraining(objective="in_context", optimizer="adamw", initial_lr=0.01, augmentation="none", batch_size=2)
    trainer = make_trainer(TRAINER)
    batch = next(trainer.get_dataloaders()[0])
    for _ in range(60):
        trainer.train_step(batch)
    trainer.network.eval()
    right = trainer.validation_step(batch)
    swapped = dict(batch, data=batch["data"].clone())
    swapped["data"][:, 0] = batch["data"][:, 0].flip(0)  # the references' images change places, their masks don't
    wrong = trainer.validation_step(swapped)
    assert float(right["loss"]) < float(wrong["loss"])
    assert right["tp_hard"][0] > wrong["tp_hard"][0]


def test_the_command_trains_and_the_export_leaves_the_heads_behind(pretraining, run, tmp_path):
    results = pretraining(objective="in_context", objective_settings={"masks": 3})
    trainer = f"{TRAINER}_1epoch"
    done = run("nnUNetv2_train", 997, "3d_tiny", "all", "-tr", trainer, "-device", "cpu", nnUNet_n_proc_DA="1")
    assert done.returncode == 0, done.stderr
    fold = results / f"{trainer}__nnUNetPlans__3d_tiny" / "fold_all"
    trained = torch.load(fold / "checkpoint_final.pth", weights_only=False)["network_weights"]
    assert trained["objective_heads.seg_layers.0.project.weight"].shape[0] == 32
    what = ("-d", 997, "-c", "3d_tiny", "-tr", trainer, "-o", tmp_path / "weights.pth", "--format", "nnunet")
    assert run("nnUNetv2_supervoxel_export", *what).returncode == 0
    weights = torch.load(tmp_path / "weights.pth", weights_only=True)["network_weights"]
    assert set(weights) == {name for name in trained if not name.startswith("objective_heads.")}


def test_all_scales_learn(make_trainer, pretraining):
    pretraining(objective="in_context", augmentation="none", batch_size=2)
    trainer = make_trainer(TRAINER)
    batch = next(trainer.get_dataloaders()[0])
    scales = len(batch["masks"])
    network = trainer.bare_network
    with outputs_of(network.decoder.stages) as features:
        network(trainer.objective._input(batch))
        loss, *_ = trainer.objective._loss(features, trainer.objective._both_views(batch), _cases(batch))
    loss.backward()
    learned = [head.project.weight.grad is not None for head in network.objective_heads.seg_layers]
    assert np.count_nonzero(learned) == scales
    assert learned[-1]
