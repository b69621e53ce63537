"""The ways to make supervoxels, one file each.

A method takes an image and gives a `SupervoxelSet` (see base.py).
To add one, write a subclass of `Method` in a new file here, and give it a line in `METHODS`.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunetv2_supervoxel.generation.methods.base import Image, Method

if TYPE_CHECKING:
    import torch

    from nnunetv2_supervoxel.config import GenerationConfig

__all__ = ["METHODS", "Image", "Method", "MethodPath"]


@dataclass(frozen=True)
class MethodPath:
    """Where a method's class is. It is called like the class itself, and imports it only then.

    So nobody waits for the packages of a method that isn't used.

    Attributes:
        path: "package.module:Class".
    """

    path: str

    def __call__(self, config: GenerationConfig, device: torch.device) -> Method:
        """Make the method; arguments and errors are those of `Method`."""
        method: type[Method] = pkgutil.resolve_name(self.path)
        return method(config, device)


METHODS = {
    "sam": MethodPath(f"{__name__}.sam:SamMethod"),
    "slic": MethodPath(f"{__name__}.slic:SlicMethod"),
}
