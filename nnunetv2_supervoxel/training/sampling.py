"""From a place in a case to a sample, and from samples to a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
import torch

from nnunetv2_supervoxel.training.dataset import UNKNOWN, Bounds, DrawnObject, PromptCase

Scales = torch.Tensor | list[torch.Tensor]  # one tensor, or for deep supervision several, finest first
View = tuple[np.ndarray, np.ndarray]  # image, float32 (c, z, y, x), and segmentation, int16 (k, z, y, x)
AugmentedView = tuple[torch.Tensor, Scales]  # the same after augmentation


@dataclass(frozen=True, eq=False)
class Place:
    """A patch around an object, before its image is read.

    Attributes:
        dataset: index of the dataset.
        case: the case, opened.
        drawn: the object.
        bounds: of the patch, as read for augmentation.
        target: boolean (*patch), where the object is.
        final_patch_size: (z, y, x) in voxels, the part in the middle that augmentation leaves.
        rng: draws whatever else a sampler needs.
    """

    dataset: int
    case: PromptCase
    drawn: DrawnObject
    bounds: Bounds
    target: np.ndarray
    final_patch_size: tuple[int, ...]
    rng: np.random.Generator

    @cached_property
    def voxels(self) -> int:
        """How many of the object's voxels lie in the middle part."""
        starts = [(size - final) // 2 for size, final in zip(self.target.shape, self.final_patch_size, strict=True)]
        middle = tuple(slice(a, a + final) for a, final in zip(starts, self.final_patch_size, strict=True))
        return int(np.count_nonzero(self.target[middle]))


@dataclass(frozen=True, eq=False)
class Sample:
    """One entry of a batch.

    Attributes:
        content: what it adds to the batch, by name.
        voxels: how many of the voxels to be learned are left after augmentation.
    """

    content: dict[str, Scales | str | int]
    voxels: int


class Sampler:
    """Makes samples of places. A sample of this class holds the image, and the object's mask as "target".

    Objectives that need something else have a subclass. Samplers run in the loader's worker processes, so they must be
    picklable.
    """

    name = "target"  # of the segmentation in a batch

    def segmentation(self, place: Place) -> np.ndarray:
        """What is to be learned at a place: int16 (*patch), 0 where there is nothing, `UNKNOWN` where nobody knows."""
        return place.case.with_unknown(place.target, place.drawn.source, place.bounds)

    def read(self, place: Place, mark_outside: bool) -> list[View]:
        """What is read of a case and will be augmented. In this class: one view, with one segmentation.

        Args:
            place: where.
            mark_outside: write -1 into the segmentation outside nnU-Net's nonzero mask.

        Raises:
            Exception: whatever reading the case's files raises.
        """
        return [view_of(place.case, place.bounds, self.segmentation(place)[None], mark_outside)]

    def sample(self, place: Place, views: Sequence[AugmentedView]) -> Sample:
        """The augmented views of a place as a sample."""
        ((image, segmentation),) = views
        seen = finest(segmentation).numpy()
        voxels = int(np.count_nonzero((seen > 0) & (seen != UNKNOWN)))
        return Sample({"data": image, self.name: segmentation, "keys": place.case.name}, voxels)

    def batch(self, samples: Sequence[Sample]) -> dict:
        """Stack tensors, and list everything else, by name."""
        return {name: stacked([sample.content[name] for sample in samples]) for name in samples[0].content}


def view_of(case: PromptCase, bounds: Bounds, segmentation: np.ndarray, mark_outside: bool) -> View:
    """The image within bounds, and its segmentation, int16 (k, *patch), marked in place as `Sampler.read` says."""
    if mark_outside:
        segmentation[(segmentation == 0) & case.outside_patch(bounds)] = -1
    return case.image_patch(bounds), segmentation


def finest(scales: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
    """The targets or outputs at full resolution. Without deep supervision, all are."""
    return scales if isinstance(scales, torch.Tensor) else scales[0]


@overload
def to_device(data: torch.Tensor, device: torch.device) -> torch.Tensor: ...
@overload
def to_device(data: list[torch.Tensor], device: torch.device) -> list[torch.Tensor]: ...
def to_device(data: Scales, device: torch.device) -> Scales:
    """Tensors on the training's device."""
    if isinstance(data, list):
        return [part.to(device, non_blocking=True) for part in data]
    return data.to(device, non_blocking=True)


def stacked(values: Sequence) -> Any:
    """Tensors as one with a new first axis, lists of tensors likewise at every scale, anything else as it is."""
    if isinstance(values[0], torch.Tensor):
        return torch.stack(list(values))
    if isinstance(values[0], list):
        return [torch.stack(scale) for scale in zip(*values, strict=True)]
    return values
