"""Checkpoints for nnU-Net's fine-tuning from nnssl checkpoints.

Its commands are in nnU-Net's development branch and in no release; the tests of them run where they are installed.
"""

import importlib.util
import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.nnssl import export_nnssl
from nnunetv2_supervoxel.export.weights import pretrained_weights

READER = importlib.util.find_spec("nnunetv2.run.run_training_from_pretrained")
needs_the_reader = pytest.mark.skipif(READER is None, reason="this nnU-Net has no nnUNetv2_train_pretrained")


def loaded(path):
    return torch.load(path, weights_only=True)


def convolutions(weights):
    """Those of the encoder; biases and normalisations start equal in every network and prove nothing."""
    return {name: value for name, value in weights.items() if name.startswith("encoder") and value.ndim == 5}


@pytest.mark.parametrize("encoder", ["model", "residual_model"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_plan_builds_the_network_and_finds_its_encoder(encoder, channels, request, tmp_path):
    model = request.getfixturevalue(encoder)
    export_nnssl(model, tmp_path / "weights.pth", channels)
    content = loaded(tmp_path / "weights.pth")
    plan, weights = content["nnssl_adaptation_plan"], content["network_weights"]
    assert json.loads(json.dumps(plan)) == plan  # nnU-Net copies it into a plans file
    architecture = plan["architecture_plans"]
    target = get_network_from_plans(
        architecture["arch_class_name"],
        architecture["arch_kwargs"],
        architecture["arch_kwargs_requiring_import"],
        plan["pretrain_num_input_channels"],
        7,
        allow_init=True,
        deep_supervision=False,
    )
    for key in (plan["key_to_encoder"], plan["key_to_stem"]):
        part = {name.removeprefix(f"{key}."): value for name, value in weights.items() if name.startswith(f"{key}.")}
        target.get_submodule(key).load_state_dict(part)  # strict
    expected = convolutions(pretrained_weights(model, channels))
    arrived = convolutions(target.state_dict())
    assert arrived.keys() == expected.keys()
    assert all(torch.equal(arrived[name], value) for name, value in expected.items())
    stems = [weights[f"{name}.weight"] for name in plan["keys_to_in_proj"]]
    assert len(stems) == 2
    assert all(stem.shape[1] == channels and torch.equal(stem, stems[0]) for stem in stems)


def test_spacing_and_patch_size_are_the_trainings(model, tmp_path):
    export_nnssl(model, tmp_path / "weights.pth")
    plan = loaded(tmp_path / "weights.pth")["nnssl_adaptation_plan"]
    assert plan["pretrain_plan"] == {
        "configurations": {"3d_tiny": {"spacing": [2.0, 1.0, 1.0], "patch_size": [16, 24, 32]}}
    }
    assert plan["recommended_downstream_patchsize"] == [16, 24, 32]
    assert plan["architecture_kwargs"]["n_stages"] == 3  # the reader takes 6 where it isn't told


def test_networks_that_the_reader_does_not_build_are_refused(model, tmp_path):
    plans = json.loads(json.dumps(model.plans))
    plans["configurations"]["3d_tiny"]["architecture"]["network_class_name"] = "somewhere.MyUNet"
    with pytest.raises(UserError, match="this is a MyUNet; use --format nnunet"):
        export_nnssl(replace(model, plans=plans), tmp_path / "weights.pth")
    assert not (tmp_path / "weights.pth").exists()


def test_the_command_says_whom_the_file_is_for(trained, tmp_path, run):
    arguments = ("-d", 997, "-c", "3d_tiny", "--format", "nnssl", "-o")
    done = run("nnUNetv2_supervoxel_export", *arguments, tmp_path / "weights.pth", "--target", 997)
    assert done.returncode == 0, done.stderr
    assert "for datasets with 1 image channel(s): nnUNetv2_plan_like_dynamic" in done.stdout
    done = run("nnUNetv2_supervoxel_export", *arguments, tmp_path / "two.pth", "--target", 997, "--channels", 2)
    assert done.returncode == 1
    assert "has 1 image channel(s), but 2 were asked for" in done.stderr
    done = run("nnUNetv2_supervoxel_export", *arguments, tmp_path / "none.pth", "--target", 12)
    assert done.returncode == 1
    assert "There is no dataset 12" in done.stderr
    assert list(tmp_path.glob("*.pth")) == [tmp_path / "weights.pth"]


def test_residual_encoders_of_one_channel_go_to_more(residual_model, tmp_path):
    assert export_nnssl(residual_model, tmp_path / "w.pth") == "datasets with 1 image channel(s) or more"
    assert export_nnssl(residual_model, tmp_path / "w.pth", 2) == "datasets with 2 image channel(s)"


def reader(module, function, *arguments):
    call = f"from nnunetv2.{module} import {function}; {function}()"
    return subprocess.Popen(
        [sys.executable, "-c", call, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@needs_the_reader
@pytest.mark.parametrize("encoder", ["model", "residual_model"])
@pytest.mark.parametrize("way", ["like_nnssl", "dynamic"])
def test_nnunet_fine_tunes_from_it(encoder, way, request, prompt_dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")  # planning needs one
    model = request.getfixturevalue(encoder)
    export_nnssl(model, tmp_path / "weights.pth")
    name = f"{way}_{encoder}"
    arguments = ("-d", 997, "-n", name, "-pc", tmp_path / "weights.pth", "-np", 1)
    if way == "like_nnssl":
        planning = reader("experiment_planning.like_nnssl", "preprocess_like_nnssl_entrypoint", *arguments)
        trainer = "PretrainedTrainer"
    else:
        base = json.loads((prompt_dataset / "nnUNetPlans.json").read_text())
        tiny = model.plans["configurations"]["3d_tiny"]
        # Deeper and with another patch than in pretraining.
        kwargs = tiny["architecture"]["arch_kwargs"]
        kwargs = {key: [*value, value[-1]] if isinstance(value, list) else value for key, value in kwargs.items()}
        kwargs["n_stages"] = 4
        architecture = tiny["architecture"] | {"arch_kwargs": kwargs}
        base["configurations"] = {
            "3d_fullres": base["configurations"]["3d_fullres"]
            | {"architecture": architecture, "patch_size": [16, 32, 32]}
        }
        (prompt_dataset / f"base_{encoder}.json").write_text(json.dumps(base | {"plans_name": f"base_{encoder}"}))
        arguments += ("-pl", f"base_{encoder}")
        planning = reader("experiment_planning.like_nnssl", "plan_like_dynamic_entrypoint", *arguments)
        trainer = "DynamicPretrainedTrainer"
    said, _ = planning.communicate(timeout=600)
    assert planning.returncode == 0, said
    (plans,) = prompt_dataset.glob(f"ptPlans*__{name}*.json")

    from nnunetv2.run.run_training_from_pretrained import get_trainer_from_args

    made = get_trainer_from_args("997", "3d_fullres", "all", trainer, plans.stem, torch.device("cpu"))
    made.initialize()
    expected, arrived = convolutions(pretrained_weights(model, 1)), convolutions(made.network.state_dict())
    assert expected.keys() <= arrived.keys()
    assert all(torch.equal(arrived[name], value) for name, value in expected.items())

    training = reader(
        "run.run_training_from_pretrained",
        "train_pretrained_entrypoint",
        *(997, "3d_fullres", "all", "-p", plans.stem, "-tr", trainer, "-device", "cpu"),
    )
    losses, deadline = [], time.time() + 600
    try:
        for line in training.stdout:
            losses += [float(line.split()[-1])] if "train_loss" in line else []
            if len(losses) == 2 or time.time() > deadline:
                break
    finally:
        training.kill()
    assert len(losses) == 2
    assert losses[1] < losses[0]
