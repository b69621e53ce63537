"""Weights of a model folder: what fits, and what is refused, in one sentence and without running any code."""

import json
import os
import pickle
import shutil

import pytest
import torch

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.start_model import load_into, load_start_model


@pytest.fixture
def folder(start_folder, tmp_path):
    return shutil.copytree(start_folder, tmp_path / "model")


def checkpoint(folder):
    return folder / "fold_0" / "checkpoint_final.pth"


def change_weights(folder, change):
    content = torch.load(checkpoint(folder), weights_only=True)
    change(content["network_weights"])
    torch.save(content, checkpoint(folder))


def change_settings(folder, change):
    plans = json.loads((folder / "plans.json").read_text())
    change(plans["configurations"]["3d_tiny"])
    (folder / "plans.json").write_text(json.dumps(plans))


def architecture(**changed):
    return lambda settings: settings["architecture"].update(changed)


def arguments(**changed):
    return lambda settings: settings["architecture"]["arch_kwargs"].update(changed)


def test_a_sound_folder(folder):
    model = load_start_model(folder)
    assert model.configuration == "3d_tiny"
    assert model.settings["patch_size"] == [16, 24, 32]
    assert model.settings["normalization_schemes"] == ["ZScoreNormalization"]  # inherited
    assert model.missing == model.left_over == ()
    assert model.provenance["license"].startswith("CC BY-NC-SA 4.0")
    assert len(model.provenance["sha256"]) == 64


def test_missing_heads_and_left_overs_are_named(folder):
    def change(weights):
        del weights["decoder.seg_layers.0.weight"], weights["decoder.seg_layers.0.bias"]
        weights["extra.weight"] = torch.zeros(3)
        weights["objective_heads.weight"] = torch.zeros(3)  # only a training needs them

    change_weights(folder, change)
    model = load_start_model(folder)
    assert model.missing == ("decoder.seg_layers.0.weight", "decoder.seg_layers.0.bias")
    assert model.left_over == ("extra.weight",)
    network = model.network_without_weights().to_empty(device="cpu")
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 7)
    load_into(network, model)
    loaded = network.state_dict()
    assert (loaded["decoder.seg_layers.0.weight"] == 7).all()
    assert torch.equal(loaded["decoder.seg_layers.1.weight"], model.weights["decoder.seg_layers.1.weight"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("decoder.seg_layers.1.bias"), r"layer decoder.seg_layers.1.bias is missing"),
        (
            lambda w: w.update({"decoder.seg_layers.1.bias": torch.zeros(5)}),
            r"decoder.seg_layers.1.bias has shape \(5,\), but \(2,\) is needed",
        ),
        (
            lambda w: w.update({"decoder.seg_layers.1.bias": torch.tensor([1, float("nan")])}),
            "values that are no numbers",
        ),
        (lambda w: w.update({"decoder.seg_layers.1.bias": torch.tensor([1, 2])}), "values that are no numbers"),
    ],
)
def test_weights_that_do_not_fit(folder, change, words):
    change_weights(folder, change)
    with pytest.raises(UserError, match=words):
        load_start_model(folder)


def test_another_number_of_channels(folder):
    description = json.loads((folder / "dataset.json").read_text()) | {"channel_names": {"0": "T1", "1": "T2"}}
    (folder / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match=r"takes 8 input channels, but 2 image channel\(s\).* make 9"):
        load_start_model(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.update(patch_size=[24, 32]), "is 2D, but prompts are trained in 3D"),
        (lambda s: s.update(previous_stage="3d_lowres"), "second stage of a cascade"),
        (lambda s: s.update(patch_size="large"), "has no patch size"),
        (lambda s: s.update(patch_size=[16, 24, 10**6]), "which can't be right"),
        (lambda s: s.update(patch_size=[16, 24, 33]), "strides don't divide the patch"),
        (architecture(network_class_name="os.system"), "no network 'os.system'"),
        (architecture(network_class_name="dynamic_network_architectures.architectures.unet.Unheard"), "no network"),
        (arguments(conv_op="subprocess.Popen"), "'subprocess.Popen' is no layer"),
        (arguments(conv_op="torch.hub.load"), "'torch.hub.load' is no layer"),
        (arguments(n_stages=4), "can't build the network"),
        (arguments(n_conv_per_stage=[1, 10**7, 1]), "more layers than there are weights"),
        (arguments(unknown=3), "can't build the network"),
        (lambda s: s.update(architecture=None), "can't build the network"),
    ],
)
def test_networks_that_cannot_be_built(folder, change, words):
    change_settings(folder, change)
    with pytest.raises(UserError, match=words) as told:
        load_start_model(folder)
    assert "\n" not in str(told.value)


def test_a_configuration_that_the_plans_lack(folder):
    plans = json.loads((folder / "plans.json").read_text())
    del plans["configurations"]["3d_tiny"]
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(UserError, match="doesn't name a configuration of"):
        load_start_model(folder)


@pytest.mark.parametrize("size", [0, 50, 5000])
def test_a_truncated_checkpoint(folder, size):
    checkpoint(folder).write_bytes(checkpoint(folder).read_bytes()[:size])
    with pytest.raises(UserError, match=r"checkpoint_final.pth is damaged.*copy it again"):
        load_start_model(folder)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_malicious_checkpoint(folder, tmp_path, save):
    content = torch.load(checkpoint(folder), weights_only=True)
    save(content | {"extra": Malicious(tmp_path / "ran")}, checkpoint(folder))
    with pytest.raises(UserError, match=r"more than weights and plain data: it asks for \w+.system|is damaged"):
        load_start_model(folder)
    assert not (tmp_path / "ran").exists()
