"""Processes that share entries wait for each other from time to time."""

import json
import os
import time
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist
import torch.multiprocessing as mp
from nnunetv2.run.run_training import find_free_network_port

from nnunetv2_supervoxel.training.ranks import MEET_EVERY, share_of_rank


def _worker(rank, port, folder, count):
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2, timeout=timedelta(seconds=60))
    begun = {}
    for entry in share_of_rank(range(count)):
        begun[entry] = time.monotonic()  # of the machine, not of the process
        time.sleep(0.05 * rank)  # the second process is slow
    Path(folder, f"{rank}.json").write_text(json.dumps(begun))
    dist.destroy_process_group()


def test_no_process_is_far_ahead_of_another(tmp_path):
    count = 4 * MEET_EVERY + 1  # the first has one entry more
    mp.spawn(_worker, (find_free_network_port(), tmp_path, count), nprocs=2)
    fast, slow = (
        {int(entry): begun for entry, begun in json.loads((tmp_path / f"{rank}.json").read_text()).items()}
        for rank in range(2)
    )
    assert sorted([*fast, *slow]) == list(range(count))
    assert len(fast) == len(slow) + 1
    for met in (MEET_EVERY, 2 * MEET_EVERY):
        assert fast[2 * met] > slow[2 * met - 1]  # its next entry, and the last one before of the slow process


def test_alone_there_is_nobody_to_wait_for():
    assert list(share_of_rank(["a", "b", "c"])) == ["a", "b", "c"]
