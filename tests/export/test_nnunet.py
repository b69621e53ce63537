"""Exported weights in nnU-Net's own loading and training."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.nnunet import export_nnunet
from nnunetv2_supervoxel.export.weights import at_initial_scale, with_image_channels

STEM = "encoder.stages.0.0.convs.0.conv.weight"


@pytest.mark.parametrize("channels", [1, 3])
def test_nnunet_loads_every_layer_but_the_last(model, network, tmp_path, channels):
    export_nnunet(model, tmp_path / "weights.pth", channels)
    target = network(model.plans, channels, 5)
    before = {name: value.clone() for name, value in target.state_dict().items()}
    load_pretrained_weights(target, tmp_path / "weights.pth")
    expected = at_initial_scale(with_image_channels(model, channels))
    for name, value in target.state_dict().items():
        assert torch.equal(value, before[name] if ".seg_layers." in name else expected[name])
    loaded, trained = (weights["encoder.stages.1.0.convs.0.conv.weight"] for weights in (expected, model.weights))
    assert torch.allclose(loaded / loaded.norm(), trained / trained.norm())


@pytest.mark.parametrize("encoder", ["model", "residual_model"])
def test_the_initial_scale_changes_no_response(encoder, network, request):
    plans = request.getfixturevalue(encoder).plans
    torch.manual_seed(0)
    fresh, grown, scaled = (network(plans, 1, 2).eval() for _ in range(3))
    with torch.no_grad():
        for parameter in grown.parameters():
            parameter.mul_(1.7).add_(0.05 * torch.randn(parameter.shape))
    scaled.load_state_dict(at_initial_scale(grown.state_dict()))
    image = torch.randn(1, 1, 16, 24, 32)
    with torch.inference_mode():
        for one, other in zip(scaled(image), grown(image), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    grown, changed = dict(grown.named_parameters()), set()
    for (name, weight), initial in zip(scaled.named_parameters(), fresh.parameters(), strict=True):
        if not torch.equal(weight, grown[name]):
            changed.add(name)
            if name.endswith("weight"):
                assert float(weight.norm()) == pytest.approx(float(initial.norm()), rel=0.15)  # He's, which is drawn
    convolutions = {name for name in grown if name.endswith((".conv.weight", ".conv.bias"))}
    assert changed == convolutions


def test_the_same_image_in_all_channels_gives_the_same_response(model):
    trained = model.weights[STEM][:, :1]
    three = with_image_channels(model, 3)[STEM]
    assert torch.allclose(three.sum(dim=1, keepdim=True), trained)
    two = replace(model, dataset_json=model.dataset_json | {"channel_names": {"0": "a", "1": "b"}})
    two.weights[STEM] = torch.cat((trained, 3 * trained, model.weights[STEM][:, 1:]), dim=1)
    assert torch.allclose(with_image_channels(two, 1)[STEM], 4 * trained)


def test_residual_encoders_too(residual_model, network):
    weights = residual_model.weights
    adapted = with_image_channels(residual_model, 2)
    target = network(residual_model.plans, 2, 2)
    target.load_state_dict(adapted)  # raises if a shape or a name is off
    changed = [name for name in weights if adapted[name].shape != weights[name].shape]
    assert changed
    assert all(adapted[name].shape[1] == 2 and weights[name].shape[1] == 8 for name in changed)


def test_a_target_with_another_network_is_refused_by_layer(model, prompt_dataset, tmp_path):
    export_nnunet(model, tmp_path / "fits.pth", target="997")
    path = prompt_dataset / "nnUNetPlans.json"
    original = path.read_text()
    plans = json.loads(original)
    plans["configurations"]["3d_tiny"]["architecture"]["arch_kwargs"]["features_per_stage"] = [8, 12, 16]
    path.write_text(json.dumps(plans))
    try:
        with pytest.raises(UserError, match=r"encoder\.stages\.1\.0\.\S+ has shape \(16, 8, .*\(12, 8, "):
            export_nnunet(model, tmp_path / "other.pth", target="997")
    finally:
        path.write_text(original)
    assert not (tmp_path / "other.pth").exists()
    with pytest.raises(UserError, match="1 image channel"):
        export_nnunet(model, tmp_path / "other.pth", channels=2, target="997")
    with pytest.raises(UserError, match="There is no dataset 12"):
        export_nnunet(model, tmp_path / "other.pth", target="12")
    with pytest.raises(UserError, match=r"\.pth"):
        export_nnunet(model, tmp_path / "other")


TWO_STEPS = """
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.lr_schedule.nnUNetTrainer_warmup import nnUNetTrainer_warmup


class TwoSteps(nnUNetTrainer):
    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 1, 2, 1

    def perform_actual_validation(self, save_probabilities=False):
        pass


class TwoSteps_warmup(TwoSteps, nnUNetTrainer_warmup):
    pass
"""


@pytest.mark.parametrize(
    ("trainer", "rate"), [("TwoSteps", 0.01), ("TwoSteps_warmup", 0.01 / 50)], ids=["as always", "with its warm-up"]
)
def test_nnunet_trains_from_the_exported_weights(trainer, rate, trained, tmp_path, run):
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "two_steps.py").write_text(TWO_STEPS)
    weights = tmp_path / "weights.pth"
    arguments = ("-d", 997, "-c", "3d_tiny", "--format", "nnunet", "-o", weights, "--target", 997)
    done = run("nnUNetv2_supervoxel_export", *arguments)
    assert done.returncode == 0, done.stderr
    arguments = (997, "3d_tiny", "all", "-tr", trainer, "-pretrained_weights", weights, "-device", "cpu")
    done = run("nnUNetv2_train", *arguments, nnUNet_extTrainer=str(tmp_path / "trainers"))
    assert done.returncode == 0, done.stderr
    assert "Loading pretrained weights" in done.stdout
    assert float(done.stdout.split("Current learning rate:")[1].split()[0]) == pytest.approx(rate, abs=1e-5)
    assert np.isfinite(float(done.stdout.split("train_loss")[1].split()[0]))
