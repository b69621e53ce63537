"""The learning rate over a training."""

import numpy as np
import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

from nnunetv2_supervoxel.training.warm_up import WarmUpPolyLR


def rates(make):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)
    scheduler = make(optimizer)
    found = []
    for epoch in range(10):
        scheduler.step(epoch)  # as nnU-Net's trainer does when an epoch begins
        found.append(optimizer.param_groups[0]["lr"])
    return found


def test_it_rises_then_falls_as_nnunets():
    found = rates(lambda optimizer: WarmUpPolyLR(optimizer, 0.1, 10, 4))
    np.testing.assert_allclose(found[:4], [0.025, 0.05, 0.075, 0.1])
    np.testing.assert_allclose(found[4:], [0.1 * (1 - step / 6) ** 0.9 for step in range(6)])


def test_without_a_warm_up_it_is_nnunets():
    ours = rates(lambda optimizer: WarmUpPolyLR(optimizer, 0.1, 10, 0))
    np.testing.assert_allclose(ours, rates(lambda optimizer: PolyLRScheduler(optimizer, 0.1, 10)))
