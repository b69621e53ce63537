"""What a method is: an image in, a `SupervoxelSet` out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.generation.intensity import IntensityWindow
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet


@dataclass(frozen=True, eq=False)
class Image:
    """One case's image, as a method gets it: it was checked, and it is not constant.

    Attributes:
        array: (c, z, y, x) with one to three channels, real numbers as they were read; some may be NaN or infinite.
        window: maps them to [0, 1], and NaN to 0. It is applied to slices or other parts of the array when they are
            needed, so that memory holds no second volume.
        spacing: voxel size (z, y, x) in mm.
        name: case identifier; with the config's seed it decides all that is random.
    """

    array: np.ndarray
    window: IntensityWindow
    spacing: tuple[float, float, float]
    name: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) in voxels."""
        z, y, x = self.array.shape[1:]
        return z, y, x

    @property
    def is_grey(self) -> bool:
        """Whether all colours are the same."""
        return len(self.window.low) == 1

    @property
    def colours(self) -> int:
        """How many colours differ: 1 or 3."""
        return 1 if self.is_grey else 3

    def windowed(self) -> np.ndarray:
        """The whole image in [0, 1]: float32 (colours, z, y, x)."""
        return np.stack([self.windowed_slice(0, index)[: self.colours] for index in range(self.shape[0])], axis=1)

    def windowed_slice(self, axis: int, index: int) -> np.ndarray:
        """One slice in [0, 1]: float32 (3, h, w), its rows and columns in the order of the two axes that are left.

        Args:
            axis: 0, 1 or 2, across which the volume is cut.
            index: of the slice along that axis.
        """
        return self.window(np.moveaxis(self.array, 1 + axis, 1)[:, index])


class Method(ABC):
    """A way to make supervoxels: made once, then called with one image after the other.

    Checking the array, its window, and constant images are the pipeline's. A method decides what is random with
    `case_generator(config.seed, image.name, purpose)` alone, so that order and number of workers don't matter.

    Args:
        config: settings; a method reads those that concern it.
        device: where its models run.

    Attributes:
        packages: the packages that a method depends on besides PyTorch and NumPy, by their names on PyPI. The
            provenance tells their versions.
        unread: settings that name models which the method doesn't use. The provenance leaves them out.

    Raises:
        UserError: something that the method needs is missing or unfit, such as a checkpoint.
    """

    packages: ClassVar[tuple[str, ...]] = ()
    unread: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def __init__(self, config: GenerationConfig, device: torch.device) -> None: ...

    @property
    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """What the provenance must name besides packages, config and device, ready for JSON.

        A method with models has one entry "checkpoints": {"<model>": {"name": ..., "sha256": ...}}. If a digest differs
        from an older file's, users read that "<model>_checkpoint" differs.
        """

    @abstractmethod
    def __call__(self, image: Image) -> SupervoxelSet:
        """Make the supervoxels of one image.

        Returns:
            The image's shape and spacing, the supervoxels in the order in which they are to be stored, and as notes
            what a user should know of this case: at least a sentence that says why, if there are no supervoxels.
        """
