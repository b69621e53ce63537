"""Two processes (gloo, CPU) run the trainer's parts together. nnU-Net's own launcher knows CUDA alone."""

import json
import os
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from nnunetv2.run.run_training import find_free_network_port, get_trainer_from_args
from torch.nn.parallel import DistributedDataParallel

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.training.dataset import PromptDataset


def _worker(rank, port, results, name):
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    trainer = get_trainer_from_args("997", "3d_tiny", "all", name, device=torch.device("cpu"))
    trainer.initialize()
    # From here on what nnU-Net does on GPUs: its constructor would ask for CUDA if the group existed before.
    dist.init_process_group("gloo", rank=rank, world_size=2)
    trainer.is_ddp, trainer.local_rank = True, rank
    trainer._set_batch_size_and_oversample()
    trainer.network = DistributedDataParallel(trainer.network)
    trainer.optimizer, trainer.lr_scheduler = trainer.configure_optimizers()
    trainer.loss = trainer._build_loss()

    loader, validation = trainer.get_dataloaders()
    for _ in range(4):
        trainer.train_step(next(loader))
    weights = torch.cat([parameter.detach().flatten() for parameter in trainer.network.parameters()])

    trainer.on_validation_epoch_start()
    outputs = [trainer.validation_step(next(validation)) for _ in range(2)]
    own = [entry[2] for output in outputs for entry in output.get("prompts", [])]
    trainer.on_validation_epoch_end(outputs)
    with mock.patch.object(PromptDataset, "open_case", _failing(PromptDataset.open_case)):
        trainer.perform_actual_validation()
    torch.save(
        {"weights": weights, "batch_size": trainer.batch_size, "own": own, "log": trainer.logger.get_checkpoint()},
        results / f"rank{rank}.pt",
    )
    dist.barrier()
    dist.destroy_process_group()


def _failing(opened):
    """`PromptDataset.open_case` where a case of the second process can't be read."""

    def open_case(dataset, case):
        if case == "case3":
            raise UserError("case3 is broken")
        return opened(dataset, case)

    return open_case


def train_in_two_processes(folder, name):
    mp.spawn(_worker, (find_free_network_port(), folder, name), nprocs=2)
    one, two = (torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(2))
    assert one["batch_size"] == two["batch_size"] == 1
    assert torch.equal(one["weights"], two["weights"])
    return one, two


def test_two_processes_train_one_network_without_prompts(pretraining, tmp_path):
    pretraining()
    one, two = train_in_two_processes(Path(tmp_path), "SupervoxelPretrainTrainer")
    assert one["log"]["mean_fg_dice"] == two["log"]["mean_fg_dice"]


def test_two_processes_train_one_network(prompt_training, tmp_path):
    results = prompt_training(max_rounds=3)
    one, two = train_in_two_processes(Path(tmp_path), "SupervoxelPromptTrainer")
    assert one["own"] != two["own"]
    for rank in (one, two):
        np.testing.assert_allclose(rank["log"]["dice_last_prompt"], [np.mean(one["own"] + two["own"])])
    summary = json.loads(next(results.glob("*/fold_all/validation/summary.json")).read_text())
    assert list(summary["cases"]) == [f"case{number}" for number in range(4)]
    assert [case for case, objects in summary["cases"].items() if not objects] == ["case3"]
    log = "".join(path.read_text() for path in results.glob("*/fold_all/training_log_*.txt"))
    assert log.count("WARNING: case3 is left out of the validation: case3 is broken") == 1
