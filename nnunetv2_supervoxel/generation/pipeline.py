"""The pipeline: checks an image, has a method make its supervoxels, and says what they were made with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any, cast

import numpy as np
import torch

from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files.volumes import NOT_NORMALISED, Normalisation
from nnunetv2_supervoxel.generation.devices import usable_device
from nnunetv2_supervoxel.generation.intensity import IntensityWindow, count_not_finite
from nnunetv2_supervoxel.generation.methods import METHODS, Image
from nnunetv2_supervoxel.generation.selection import select
from nnunetv2_supervoxel.masks.foreground import foreground
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet


class SupervoxelGenerator:
    """Makes supervoxels of images: loads the models once, and is then called with one array after the other.

    Args:
        config: checkpoints and settings; the default takes SAM vit_h and SAM 2.1 large.
        device: "cuda", "cuda:1", "cpu", "mps"; default CUDA where there is one.

    Attributes:
        config: the settings.
        device: where the models run.
        method: what makes the supervoxels.

    Raises:
        UserError: a checkpoint or the device is missing or unfit.
    """

    def __init__(self, config: GenerationConfig | None = None, device: torch.device | str | None = None) -> None:
        self.config = config or GenerationConfig()
        self.device = usable_device(device)
        self.method = METHODS[self.config.method](self.config, self.device)

    @property
    def provenance(self) -> dict[str, Any]:
        """What made the supervoxels, ready for JSON: packages, checkpoints, config (the seed among it), device,
        and PyTorch's threads: with another number of them a CPU rounds differently, and single voxels change.
        """
        packages = ("nnunetv2-supervoxel", "nnunetv2", "torch", *self.method.packages, "numpy")
        return {
            "packages": {package: version(package) for package in packages},
            "checkpoints": {},
            **self.method.provenance,
            "config": self.config.model_dump(mode="json", exclude=set(self.method.unread)),
            "device": self.device.type,
            "threads": torch.get_num_threads(),
        }

    def __call__(
        self,
        array: np.ndarray,
        spacing: Sequence[float] = (1.0, 1.0, 1.0),
        name: str = "volume",
        normalised: Sequence[Normalisation] | None = None,
    ) -> SupervoxelSet:
        """Make the supervoxels of one image.

        Args:
            array: (z, y, x), or (c, z, y, x) with one to three channels, any real type.
            spacing: voxel size (z, y, x) in mm; kept with the result.
            name: case identifier; with the seed it decides all that is random.
            normalised: how each channel was normalised, which `windows` needs; None: not at all.

        Raises:
            UserError: the array has another shape, or complex voxels.
        """
        volume = _checked(array)
        not_finite = count_not_finite(volume)
        notes = (f"{not_finite} voxels are NaN or infinite",) if not_finite else ()
        window = self._window(volume, normalised)
        image = Image(volume, window, cast("tuple[float, float, float]", tuple(float(size) for size in spacing)), name)
        if window.is_constant:
            return SupervoxelSet(image.shape, (), image.spacing, (*notes, "the image is constant"))
        inside = foreground(image.windowed().mean(0)) if self.config.min_foreground_share else None
        made = select(self.method(image), self.config, inside)
        return replace(made, notes=(*notes, *made.notes))

    def _window(self, volume: np.ndarray, normalised: Sequence[Normalisation] | None) -> IntensityWindow:
        if self.config.windows is None:
            return IntensityWindow.of_percentiles(volume, self.config.intensity_percentiles)
        return IntensityWindow.of_units(volume, self.config.windows, normalised or [NOT_NORMALISED] * len(volume))


def _checked(array: np.ndarray) -> np.ndarray:
    """The array as (c, z, y, x)."""
    array = np.asarray(array)
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or not 1 <= len(array) <= 3 or not array.size:
        raise UserError(
            f"An image (z, y, x) or (1 to 3 channels, z, y, x) was expected, not one of shape {array.shape}."
        )
    if array.dtype.kind not in "biuf":
        raise UserError(f"An image of real numbers was expected, not of {array.dtype}.")
    return array
