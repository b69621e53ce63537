from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from nnunetv2_supervoxel import GenerationConfig
from nnunetv2_supervoxel.generation.methods import METHODS, Method


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_made_from_a_config_and_a_device(name: str, tiny_config: GenerationConfig) -> None:
    assert isinstance(METHODS[name](tiny_config, torch.device("cpu")), Method)


def test_a_methods_packages_are_imported_when_it_is_made() -> None:
    code = (
        "import sys, nnunetv2_supervoxel.generation.pipeline; "
        "print([name for name in ('sam2', 'segment_anything', 'torchvision') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
