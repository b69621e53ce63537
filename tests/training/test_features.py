"""What lies inside a network."""

import torch
from torch import nn

from nnunetv2_supervoxel.training.features import outputs_of, zero_of


def test_outputs_of_modules_come_in_the_order_in_which_they_run():
    first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    network = nn.Sequential(first, nn.ReLU(), second)
    data = torch.randn(5, 3)
    with outputs_of([second, first]) as outputs:
        result = network(data)
    assert torch.equal(outputs[0], first(data))
    assert torch.equal(outputs[1], result)
    network(data)
    assert len(outputs) == 2  # nothing is kept any more


def test_a_zero_has_a_gradient_whatever_the_values():
    values = torch.tensor([[torch.inf, 1.0], [torch.nan, -2.0]], requires_grad=True)
    nothing = zero_of([values, values * 2])
    assert float(nothing.detach()) == 0
    nothing.backward()
    assert torch.equal(values.grad, torch.zeros(2, 2))
