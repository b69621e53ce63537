"""Files of the official structure, which the tests make themselves."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nnunetv2_supervoxel.checkpoints.architectures import SAM2_ARCHITECTURES, SAM_ARCHITECTURES, build_sam, build_sam2


@pytest.fixture
def free_memory() -> Iterator[None]:
    """For tests of full-size models, one after the other."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def sam_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full-size file as Meta publishes vit_b (and others MedSAM and micro-sam's vit_b): the state dict itself."""
    path = tmp_path_factory.mktemp("sam") / "renamed.pth"
    torch.save(build_sam(SAM_ARCHITECTURES["vit_b"]).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def sam2_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full-size file as Meta publishes SAM 2.1 tiny (and others MedSAM2): {"model": state dict}."""
    path = tmp_path_factory.mktemp("sam2") / "renamed.pt"
    torch.save({"model": build_sam2(SAM2_ARCHITECTURES["tiny"]).state_dict()}, path)
    return path
