"""Does a network of nnInteractive's size load here, and does a training step run? Random weights, on the CPU or a GPU.

    python scripts/try_official_size.py                       # ResEnc-L, patch of 192 x 192 x 192 voxels
    python scripts/try_official_size.py --patch 128 --device cuda

A model folder like the official one is written (residual encoder of nnU-Net's size L, 8 input channels), read as
nnUNetv2_supervoxel_start_from reads it, and one step is made as SupervoxelPromptTrainer makes it: nnU-Net's loss with
deep supervision, on one patch. Prints nnU-Net's estimate of the memory, what PyTorch keeps for the backward pass, what
was measured, and the time.

On a CPU, memory is what this process took; --limit ends the script instead of the machine when there is too little.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import torch
from benchmarking.processes import MemoryPeak
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_supervoxel.config import PromptTrainingConfig
from nnunetv2_supervoxel.export.nninteractive import export_nninteractive
from nnunetv2_supervoxel.export.start_model import StartModel, load_into, load_start_model
from nnunetv2_supervoxel.export.start_plans import memory_of_a_patch
from nnunetv2_supervoxel.export.trained_model import TrainedModel

CHANNELS = 1 + 7
STAGES = 6
# nnU-Net's planner for residual encoders of size L (24 GB).
ARCHITECTURE = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
    "arch_kwargs": {
        "n_stages": STAGES,
        "features_per_stage": [32, 64, 128, 256, 320, 320],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * STAGES,
        "strides": [[1, 1, 1], *[[2, 2, 2]] * (STAGES - 1)],
        "n_blocks_per_stage": [1, 3, 4, 6, 6, 6],
        "n_conv_per_stage_decoder": [1] * (STAGES - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patch", type=int, default=192, help="voxels along each axis (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--bfloat16", action="store_true", help="mixed precision on a CPU; GPUs always have it")
    parser.add_argument("--dry", action="store_true", help="load and count, but make no step")
    parser.add_argument("--limit", type=float, metavar="GB", help="address space that the script may take")
    arguments = parser.parse_args()
    if arguments.limit:
        resource.setrlimit(resource.RLIMIT_AS, (int(arguments.limit * 2**30),) * 2)

    device = torch.device(arguments.device)
    with tempfile.TemporaryDirectory() as aside:
        folder = write_folder(Path(aside) / "model", arguments.patch)
        began = time.time()
        model = load_start_model(folder)
        size = model.described.checkpoint.stat().st_size
        network = build(model).to(device)
        print(f"loaded: {size / 2**20:.0f} MB of weights, {time.time() - began:.1f} s")
        print(f"nnU-Net's estimate: {memory_of_a_patch(model):.1f} GB for one patch of {arguments.patch} voxels cubed")
        kept = kept_for_backward(model, arguments.patch)
        print(f"kept for the backward pass: {kept:.1f} GB in float32, about {kept / 2:.1f} GB in mixed precision")
        if arguments.dry:
            return
        gigabytes, seconds = step(network, arguments.patch, device, arguments.bfloat16 or device.type == "cuda")
    print(f"one step: {seconds:.1f} s, {gigabytes:.1f} GB at most")


def write_folder(folder: Path, patch: int) -> Path:
    """A model folder with random weights."""
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 24,
        "patch_size": [patch] * 3,
        "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": ARCHITECTURE,
        "batch_dice": False,
    }
    plans = {
        "dataset_name": "Dataset999_Random",
        "plans_name": "nnUNetPlans",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "configurations": {"3d_fullres": configuration},
    }
    manager = PlansManager(json.loads(json.dumps(plans)))
    network = nnUNetTrainer.build_network_architecture(
        manager, manager.get_configuration("3d_fullres"), CHANNELS, 2, True
    )
    dataset_json = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "object": 1}, "file_ending": ".nii.gz"}
    weights = network.state_dict()
    export_nninteractive(
        TrainedModel("all", "3d_fullres", plans, dataset_json, weights, PromptTrainingConfig(), None), folder
    )
    return folder


def kept_for_backward(model: StartModel, patch: int) -> float:
    """Gigabytes of activations that PyTorch keeps of one patch until the backward pass, counted without computing."""
    network = model.network_without_weights()
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = network(torch.empty(1, CHANNELS, *[patch] * 3, device="meta"))
    return (sum(storage.nbytes() for storage in kept.values()) + sum(o.nbytes for o in outputs)) / 2**30


def build(model: StartModel) -> torch.nn.Module:
    """The network with the model's weights."""
    network = model.network_without_weights().to_empty(device="cpu")
    load_into(network, model)
    return network.train()


def step(network: torch.nn.Module, patch: int, device: torch.device, mixed: bool) -> tuple[float, float]:
    """One step on one random patch: gigabytes at most, seconds."""
    optimizer = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.99, nesterov=True, weight_decay=3e-5)
    loss = DC_and_CE_loss(
        {"batch_dice": False, "smooth": 1e-5, "do_bg": False}, {}, dice_class=MemoryEfficientSoftDiceLoss
    )
    weights = [0.5**scale for scale in range(STAGES - 2)] + [0.0]
    loss = DeepSupervisionWrapper(loss, [weight / sum(weights) for weight in weights])
    data = torch.randn(1, CHANNELS, *[patch] * 3, device=device)
    targets = [torch.zeros(1, 1, *[patch >> scale] * 3, device=device) for scale in range(STAGES - 1)]
    for target in targets:
        target[..., : target.shape[-1] // 2] = 1
    peak, began = MemoryPeak(), time.time()
    peak.restart()
    with torch.autocast(device.type, torch.bfloat16 if device.type == "cpu" else torch.float16, enabled=mixed):
        value = loss(network(data), targets)
    value.backward()
    optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / 2**30, time.time() - began
    return peak.bytes() / 2**30, time.time() - began


if __name__ == "__main__":
    main()
