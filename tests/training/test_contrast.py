"""Telling supervoxels apart: the loss, what is drawn for it, and steps of the trainer with it."""

import numpy as np
import pytest
import torch

from nnunetv2_supervoxel.training.contrast import SUPERVOXELS, VOXELS, contrast_loss, draw_voxels

SHAPE = (5, 7, 11)


def boxes():
    """Three supervoxels: two apart, the third inside the second."""
    masks = np.zeros((3, *SHAPE), bool)
    masks[0, 0:2, 1:4, 2:9] = True
    masks[1, 2:5, 2:7, 0:8] = True
    masks[2, 3:5, 3:6, 1:4] = True
    return masks


def one_feature_each(masks):
    """Features (k, z, y, x) that are 1 in their supervoxel; where several overlap, in the last."""
    features = np.zeros(masks.shape, np.float32)
    for number, mask in enumerate(masks):
        features[:, mask] = 0
        features[number, mask] = 1
    return torch.from_numpy(features)


def batch_of(*drawn):
    return [torch.stack(part) for part in zip(*drawn, strict=True)]


def test_voxels_are_drawn_from_their_supervoxel(rng):
    masks = boxes()
    voxels, inside = draw_voxels(masks, rng)
    assert voxels.shape == (SUPERVOXELS, VOXELS)
    assert inside.shape == (SUPERVOXELS, SUPERVOXELS, VOXELS)
    assert (voxels[3:] == -1).all()
    assert not inside[3:].any()
    assert not inside[:, 3:].any()
    for number in range(3):
        z, y, x = np.unravel_index(voxels[number].numpy(), SHAPE)
        assert masks[number, z, y, x].all()
        assert len(set(voxels[number].tolist())) > 10
        for other in range(3):
            np.testing.assert_array_equal(inside[other, number].numpy(), masks[other, z, y, x])


def test_the_loss_is_low_where_features_tell_supervoxels_apart(rng):
    masks = boxes()[:2]
    drawn = batch_of(draw_voxels(masks, rng))
    apart = contrast_loss(one_feature_each(masks)[None], *drawn)
    assert float(apart) == pytest.approx(np.log(1 + np.exp(-10)), rel=1e-3)  # cosines 1 and 0, temperature 0.1
    alike = contrast_loss(torch.ones(1, 4, *SHAPE), *drawn)
    assert float(alike) == pytest.approx(np.log(2), rel=1e-4)
    wrong = one_feature_each(masks)
    wrong[:, masks[0]] = torch.tensor([[0.0], [1.0]])  # the second's
    assert float(contrast_loss(wrong[None], *drawn)) == pytest.approx(np.log(2), rel=1e-4)


def test_a_voxel_in_two_supervoxels_is_told_from_neither(rng):
    masks = boxes()
    drawn = batch_of(draw_voxels(masks[[1, 2]], rng))
    # The inner supervoxel's voxels all lie in the outer one, too: they have nothing to be told from.
    features = torch.ones(1, 4, *SHAPE)
    outer_only = ~drawn[1][0, 1, 0, VOXELS // 2 :]
    expected = np.log(2) * float(outer_only.float().mean()) / 2
    assert 0 < expected < np.log(2) / 2
    assert float(contrast_loss(features, *drawn)) == pytest.approx(expected, rel=1e-4)


def test_patches_with_one_supervoxel_count_for_nothing(rng):
    masks = boxes()
    features = one_feature_each(masks)[None].repeat(2, 1, 1, 1, 1).requires_grad_()
    alone, three = draw_voxels(masks[:1], rng), draw_voxels(masks, rng)
    both = contrast_loss(features, *batch_of(alone, three))
    assert float(both) == pytest.approx(float(contrast_loss(features[1:], *batch_of(three))), rel=1e-5)
    nothing = contrast_loss(features, *batch_of(alone, alone))
    assert float(nothing) == 0
    nothing.backward()  # DDP wants a gradient all the same
    assert not features.grad.any()


def test_steps_without_prompts_learn_to_tell_supervoxels_apart(make_trainer, prompt_training):
    prompt_training(contrast_fraction=1.0, optimizer="adamw", initial_lr=0.01, augmentation="none")
    trainer = make_trainer()
    batch = next(trainer.get_dataloaders()[0])
    assert "target" not in batch
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    usual = trainer.loss
    losses = [float(trainer.train_step(batch)["contrast"]) for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    assert trainer.loss is usual
    after = trainer.network.state_dict()
    assert after.keys() == before.keys()
    assert not torch.equal(
        after["encoder.stages.0.0.convs.0.conv.weight"], before["encoder.stages.0.0.convs.0.conv.weight"]
    )
    # Nothing was prompted, so what belongs to the prompts has nothing to learn from but weight decay.
    prompts, decayed = (w["encoder.stages.0.0.convs.0.conv.weight"][:, 1:] for w in (before, after))
    torch.testing.assert_close(decayed / decayed.norm(), prompts / prompts.norm(), atol=1e-5, rtol=0)


def test_steps_of_both_kinds_are_reported_apart(make_trainer, prompt_training):
    prompt_training(contrast_fraction=0.5, num_iterations_per_epoch=12)
    trainer = make_trainer()
    trainer.on_train_start()
    outputs = [trainer.train_step(next(trainer.dataloader_train)) for _ in range(12)]
    kinds = [set(output) for output in outputs]
    assert {"loss"} in kinds
    assert {"contrast"} in kinds
    said = []
    trainer.print_to_log_file = lambda *text, **_: said.append(" ".join(map(str, text)))
    trainer.on_train_epoch_end(outputs)
    contrast = np.mean([output["contrast"] for output in outputs if "contrast" in output])
    assert f"Contrast loss: {contrast:.4f}" in said
    logged = trainer.logger.get_value("train_losses", step=-1)
    assert logged == pytest.approx(np.mean([output["loss"] for output in outputs if "loss" in output]), rel=1e-5)
