"""Threads as the user asks for them."""

import pytest
import torch

from nnunetv2_supervoxel.threads_and_heap import take_threads_asked_for


@pytest.fixture
def seven_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(7)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("seven_threads")
@pytest.mark.parametrize(("asked", "taken"), [("3", 3), (None, 7), ("", 7), ("0", 7), ("4,2", 7), ("many", 7)])
def test_threads_are_those_asked_for(monkeypatch, asked, taken):
    if asked is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    take_threads_asked_for()
    assert torch.get_num_threads() == taken
