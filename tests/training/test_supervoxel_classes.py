"""Naming the classes of supervoxels: how classes are made, what a patch shows, the loss, and steps of the trainer."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from nnunetv2_supervoxel.training.supervoxel_classes import (
    OUTSIDE,
    UNKNOWN,
    SupervoxelClasses,
    make_classes,
    naming_loss,
    outputs_of,
    zero_of,
)
from nnunetv2_supervoxel.training.rounds import without_prompts

SHAPE = (20, 30, 44)
FRAME = ((0, 0, 0), (20, 30, 44))  # all around, so that places are relative to the same box in every case
LOW, HIGH = ((2, 4, 20), (5, 9, 25)), ((14, 4, 20), (17, 9, 25))
CORNERS = [((z, y, x), (z + 1, y + 1, x + 1)) for z in (0, 19) for y in (0, 29) for x in (0, 43)]
LEFT, RIGHT = ((8, 18, 4), (12, 24, 10)), ((8, 18, 34), (12, 24, 40))


class Dataset:
    """What `SupervoxelClasses` knows of a dataset: boxes (first voxel, one past the last) by case."""

    def __init__(self, **cases):
        self.cases, self.identifiers = cases, sorted(cases)

    def open_case(self, name):
        return Case(name, self.cases[name])

    def read_locations(self, names):
        return [self.open_case(name).supervoxel_locations for name in names]


class Case:
    """What `SupervoxelClasses` knows of a case."""

    def __init__(self, name, boxes):
        self.name, self.boxes = name, boxes
        self.supervoxel_locations = {
            key: np.insert(np.argwhere(self.supervoxel_patch(key, [(0, size) for size in SHAPE])), 0, key - 1, axis=1)
            for key in range(1, 1 + len(boxes))
        }

    def keys_within(self, bounds):
        return [key for key in self.supervoxel_locations if self.supervoxel_patch(key, bounds).any()]

    def supervoxel_patch(self, key, bounds):
        mask = np.zeros(SHAPE, bool)
        mask[tuple(slice(*side) for side in zip(*self.boxes[key - 1], strict=True))] = True
        return mask[tuple(slice(*side) for side in bounds)]


def moved(box, *by):
    return tuple(tuple(int(c + d) for c, d in zip(corner, by, strict=True)) for corner in box)


@pytest.fixture
def classes():
    return SupervoxelClasses(
        Dataset(a=[FRAME, LOW, HIGH, LEFT], b=[FRAME, moved(HIGH, 1, 0, 1), RIGHT, moved(LOW, 0, 1, -1)]), 4
    )


def test_supervoxels_alike_in_place_and_size_have_one_class(classes):
    a = classes.of(Case("a", [FRAME, LOW, HIGH, LEFT]))
    b = classes.of(Case("b", [FRAME, moved(HIGH, 1, 0, 1), RIGHT, moved(LOW, 0, 1, -1)]))
    assert sorted(a.values()) == [1, 2, 3, 4]
    assert [b[1], b[2], b[4]] == [a[1], a[3], a[2]]
    assert b[3] == a[4]  # left and right
    larger = classes.of(Case("c", [FRAME, ((1, 1, 1), (19, 29, 43)), moved(LOW, 1, 0, 0)]))
    assert larger[2] == a[1]
    assert larger[3] == a[2]


def test_classes_are_the_same_whenever_made(classes):
    again = SupervoxelClasses(
        Dataset(b=[FRAME, moved(HIGH, 1, 0, 1), RIGHT, moved(LOW, 0, 1, -1)], a=[FRAME, LOW, HIGH, LEFT]), 4
    )
    np.testing.assert_array_equal(again.centres, classes.centres)


def test_there_are_no_more_classes_than_supervoxels():
    assert len(SupervoxelClasses(Dataset(a=[FRAME, LOW], b=[FRAME, LOW]), 24)) == 2


def test_datasets_have_classes_of_their_own():
    first, second = make_classes([Dataset(a=[FRAME, LOW, HIGH]), Dataset(b=[FRAME, LOW, LEFT])], 24)
    assert sorted(first.of(Case("a", [FRAME, LOW, HIGH])).values()) == [1, 2, 3]
    assert sorted(second.of(Case("b", [FRAME, LOW, LEFT])).values()) == [4, 5, 6]


@pytest.mark.parametrize("rows", [None, 40])
def test_a_voxel_has_the_class_of_the_smallest_supervoxel_around_it(classes, rows):
    large, inner, outside = ((1, 2, 3), (18, 28, 43)), LOW, HIGH
    case = Case("d", [inner, large, outside, *CORNERS])
    if rows:  # as many for large supervoxels as for small ones, as where nnU-Net draws them
        for key, voxels in case.supervoxel_locations.items():
            case.supervoxel_locations[key] = np.random.default_rng(key).permutation(voxels)[:rows]
    named = classes.of(case)
    bounds = [(1, 12), (3, 29), (10, 43)]
    expected = np.full(SHAPE, UNKNOWN)
    for key, box in ((2, large), (1, inner)):
        expected[tuple(slice(*side) for side in zip(*box, strict=True))] = named[key]
    patch = classes.patch(case, bounds)
    assert patch.dtype == np.int16
    np.testing.assert_array_equal(patch, expected[1:12, 3:29, 10:43])
    assert named[1] != named[2]
    assert {named[1], named[2], UNKNOWN} == set(np.unique(patch))


def test_outside_is_what_lies_around_all_supervoxels(classes):
    wedge = ((0, 4, 8), (1, 29, 41)), ((15, 4, 8), (16, 29, 9))  # a plate, and a bar on its left end
    patch = classes.patch(Case("e", wedge), [(0, 20), (2, 30), (6, 44)])
    z, y, x = np.indices(SHAPE)[:, 0:20, 2:30, 6:44]
    within = (y >= 4) & (y < 29) & (x >= 8)
    up, along = z / 15, (x - 8) / 32
    assert (patch[within & (up + along < 0.93)] != OUTSIDE).all()
    assert (patch[within & (up + along < 0.93) & (z > 0) & (x > 8)] == UNKNOWN).all()
    assert (patch[~within | (up + along > 1.1)] == OUTSIDE).all()
    assert (classes.patch(Case("empty", [((3, 4, 5), (3, 9, 9))]), [(0, 5), (1, 5), (2, 5)]) == UNKNOWN).all()
    flat = classes.patch(Case("f", [((3, 4, 5), (4, 9, 12)), ((3, 15, 30), (4, 20, 33))]), [(0, 20), (0, 30), (0, 44)])
    assert set(np.unique(flat[3, 4:20, 5:33])) >= {UNKNOWN}
    flat[3, 4:20, 5:33] = OUTSIDE
    assert (flat == OUTSIDE).all()


def test_steps_without_prompts_learn_to_name_supervoxels(make_trainer, prompt_training):
    prompt_training(naming_fraction=1.0, naming_classes=5, optimizer="adamw", initial_lr=0.01, augmentation="none")
    trainer = make_trainer()
    batch = next(trainer.get_dataloaders()[0])
    assert "target" not in batch
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    usual = trainer.loss
    losses = [float(trainer.train_step(batch)["naming"]) for _ in range(100)]
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
        named = trainer.network.naming(features)[0].argmax(1)
    classes = batch["classes"][0][:, 0]
    inside = (classes != OUTSIDE) & (classes != UNKNOWN)
    assert float((named == classes)[inside].float().mean()) > 0.7


@pytest.mark.parametrize("deep", [True, False])
def test_unknown_voxels_teach_nothing(make_trainer, prompt_training, deep):
    prompt_training(naming_fraction=1.0)
    usual = make_trainer().loss if deep else make_trainer().loss.loss
    torch.manual_seed(0)
    shapes = [(8, 12, 10), (4, 6, 5)] if deep else [(8, 12, 10)]
    outputs = [torch.randn(2, 4, *shape, requires_grad=True) for shape in shapes]
    classes = [torch.randint(0, 4, (2, 1, *shape)).to(torch.int16) for shape in shapes]
    known = [scale.clone() for scale in classes]
    for scale in classes:
        scale[:, :, ::2, 1] = UNKNOWN
    naming_loss(usual)(*((outputs, classes) if deep else (outputs[0], classes[0]))).backward()
    unknown = (classes[0] == UNKNOWN).expand_as(outputs[0])
    assert torch.equal(outputs[0].grad[unknown], torch.zeros(int(unknown.sum())))
    assert (outputs[0].grad[~unknown] != 0).all()
    outputs[0].grad = None
    usual(*((outputs, known) if deep else (outputs[0], known[0]))).backward()
    assert (outputs[0].grad[unknown] != 0).all()  # nnU-Net's own loss sees them


def test_a_zero_has_a_gradient_whatever_the_values():
    values = torch.tensor([[torch.inf, 1.0], [torch.nan, -2.0]], requires_grad=True)
    nothing = zero_of([values, values * 2])
    assert float(nothing.detach()) == 0
    nothing.backward()
    assert torch.equal(values.grad, torch.zeros(2, 2))


def test_validation_counts_the_voxels_of_every_class(make_trainer, prompt_training):
    prompt_training(naming_fraction=1.0, naming_classes=5, optimizer="adamw", initial_lr=0.01, augmentation="none")
    trainer = make_trainer()
    trainer.on_train_start()
    train, batch = next(trainer.dataloader_train), next(trainer.dataloader_val)
    assert "target" not in batch
    for _ in range(30):
        trainer.train_step(train)
    trainer.network.eval()
    with outputs_of(trainer.network.decoder.stages) as features, torch.no_grad():
        trainer.network(without_prompts(batch["data"]))
        named = trainer.network.naming(features)[0].argmax(1)
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


def test_a_training_goes_on_with_its_heads(make_trainer, prompt_training, tmp_path):
    prompt_training(naming_fraction=0.5, naming_classes=5)
    trainer = make_trainer()
    trainer.save_checkpoint(str(tmp_path / "checkpoint.pth"))
    resumed = make_trainer()
    head = "naming.seg_layers.0.weight"
    assert not torch.equal(resumed.network.state_dict()[head], trainer.network.state_dict()[head])
    resumed.load_checkpoint(str(tmp_path / "checkpoint.pth"))
    torch.testing.assert_close(resumed.network.state_dict()[head], trainer.network.state_dict()[head])
    assert resumed.network.state_dict()[head].shape[0] == 6  # no class, and five


def test_steps_of_both_kinds_are_reported_apart(make_trainer, prompt_training):
    prompt_training(naming_fraction=0.5, num_iterations_per_epoch=12)
    trainer = make_trainer()
    trainer.on_train_start()
    outputs = [trainer.train_step(next(trainer.dataloader_train)) for _ in range(12)]
    kinds = [set(output) for output in outputs]
    assert {"loss"} in kinds
    assert {"naming"} in kinds
    said = []
    trainer.print_to_log_file = lambda *text, **_: said.append(" ".join(map(str, text)))
    trainer.on_train_epoch_end(outputs)
    naming = np.mean([output["naming"] for output in outputs if "naming" in output])
    assert f"Naming loss: {naming:.4f}" in said
    logged = trainer.logger.get_value("train_losses", step=-1)
    assert logged == pytest.approx(np.mean([output["loss"] for output in outputs if "loss" in output]), rel=1e-5)
