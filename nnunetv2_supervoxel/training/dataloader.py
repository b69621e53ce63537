"""Batches of image patches, each with the mask of one object in it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from batchgenerators.dataloading.data_loader import DataLoader
from threadpoolctl import ThreadpoolController

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.randomness import weighted_choice
from nnunetv2_supervoxel.training.dataset import Bounds, PromptCase, PromptDataset, patch_bounds
from nnunetv2_supervoxel.training.supervoxel_classes import SupervoxelClasses

MAX_DRAWS = 50  # per sample, before the largest object seen so far has to do

Sample = tuple[torch.Tensor, torch.Tensor | list[torch.Tensor], str]  # image, target, case identifier


@dataclass(frozen=True, eq=False)
class _DrawnPatch:
    """A patch around an object, before its image is read.

    Attributes:
        dataset: index of the dataset.
        case: the case, opened.
        bounds: of the patch, as read for augmentation.
        target: boolean (*patch), the object.
        final_patch_size: (z, y, x) in voxels, the part in the middle that augmentation leaves.
    """

    dataset: int
    case: PromptCase
    bounds: Bounds
    target: np.ndarray
    final_patch_size: tuple[int, ...]

    @cached_property
    def voxels(self) -> int:
        """How many of the object's voxels lie in the middle part."""
        starts = [(size - final) // 2 for size, final in zip(self.target.shape, self.final_patch_size, strict=True)]
        middle = tuple(slice(a, a + final) for a, final in zip(starts, self.final_patch_size, strict=True))
        return int(np.count_nonzero(self.target[middle]))


class PromptDataLoader(DataLoader):
    """Draws a dataset, a case, an object of it, and a patch around a voxel of the object.

    In batchgenerators' shape: runs in `NonDetMultiThreadedAugmenter` and `SingleThreadedAugmenter`.

    Args:
        datasets: where from.
        batch_size: patches per batch.
        patch_size: (z, y, x) in voxels, what is read; augmentation needs more than it leaves.
        final_patch_size: (z, y, x) in voxels, what augmentation leaves.
        transforms: nnU-Net's augmentation, called with image (c, z, y, x) and segmentation (1, z, y, x); or None.
        weights: how often each dataset is drawn (relative); None means alike.
        real_label_fraction: probability that the object is a real label's component, where the case has one.
        min_target_voxels: an object with fewer voxels in the final patch, before or after augmentation, is drawn anew.
        max_shift: how far, as a share of the final patch, the drawn voxel may lie from the patch's middle.
        classes: of the supervoxels of each dataset.
        naming_fraction: probability of a batch without objects to prompt for, but with the `classes` of all voxels.
        mark_outside: write -1 into the mask where nnU-Net's nonzero mask ends, for transforms that need it.
        rng: draws everything but the augmentation. None: seeded, in each worker, from numpy's global state, which is
            what nnU-Net's workers do.
    """

    def __init__(
        self,
        datasets: Sequence[PromptDataset],
        batch_size: int,
        patch_size: Sequence[int],
        final_patch_size: Sequence[int],
        transforms: Callable[..., dict] | None = None,
        *,
        weights: Sequence[float] | None = None,
        real_label_fraction: float = 0.0,
        min_target_voxels: int = 1,
        max_shift: float = 0.0,
        classes: Sequence[SupervoxelClasses] = (),
        naming_fraction: float = 0.0,
        mark_outside: bool = False,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__(datasets, batch_size, 1, None, True, False, True)
        self.patch_size = tuple(int(size) for size in patch_size)
        self.final_patch_size = tuple(int(size) for size in final_patch_size)
        self.transforms = transforms
        self.real_label_fraction = real_label_fraction
        self.min_target_voxels = min_target_voxels
        self.max_shift = max_shift
        self.classes = classes
        self.naming_fraction = naming_fraction
        self.mark_outside = mark_outside
        self._weights = np.asarray([1.0] * len(datasets) if weights is None else weights, np.float64)
        self._cases = [list(dataset.identifiers) for dataset in datasets]
        self._rng = rng

    def generate_train_batch(self) -> dict:
        """Draw a batch.

        Returns:
            data: float32 tensor (b, c, z, y, x). target: int16 tensor (b, 1, z, y, x) of 0 and 1, or a list of them
            for deep supervision, finest first. keys: case identifiers. Instead of the target, by `naming_fraction`:
            classes: the same for the classes of `SupervoxelClasses.patch`.

        Raises:
            UserError: not one case can be read any more, or no object has a voxel in its patch.
        """
        if self._rng is None:
            self._rng = np.random.default_rng(np.random.randint(0, 2**32, size=4, dtype=np.uint32))
        with torch.no_grad(), _thread_pools().limit(limits=1):
            naming = self.naming_fraction > 0 and self._rng.random() < self.naming_fraction
            samples = [self._draw_sample(self._rng, naming) for _ in range(self.batch_size)]
        images, targets, keys = zip(*samples, strict=True)
        target = (
            [torch.stack(scale) for scale in zip(*targets, strict=True)]
            if isinstance(targets[0], list)
            else torch.stack(targets)
        )
        return {"data": torch.stack(images), "classes" if naming else "target": target, "keys": list(keys)}

    def _draw_sample(self, rng: np.random.Generator, naming: bool) -> Sample:
        """A sample with an object of sufficient size, or the one with the largest of many draws.

        Of an object that is too small already no image is read; augmentation may still turn one out of view.
        """
        best = None
        for _ in range(MAX_DRAWS):
            drawn = self._draw_patch(rng)
            if drawn is None or not drawn.voxels:
                continue
            if drawn.voxels >= self.min_target_voxels:
                sample = self._augmented(drawn, naming)
                if sample is None:
                    continue
                if _count_voxels(sample[1]) >= self.min_target_voxels:
                    return sample
            if best is None or drawn.voxels > best.voxels:
                best = drawn
        if best is None:
            raise _nothing_in_sight()
        # Anew if the image turns out to be damaged.
        return self._augmented(best, naming) or self._draw_sample(rng, naming)

    def _draw_patch(self, rng: np.random.Generator) -> _DrawnPatch | None:
        """A case, an object of it, and a patch around it; None if the case has no object or can't be read."""
        which, name = self._draw_case(rng)
        try:
            case = self._data[which].open_case(name)
            drawn = case.draw_object(rng, from_labels=True) if rng.random() < self.real_label_fraction else None
            drawn = drawn or case.draw_object(rng)
            if drawn is None:
                return None
            shift = rng.uniform(-self.max_shift, self.max_shift, 3) * self.final_patch_size
            middle = [index + int(offset) for index, offset in zip(drawn.centre, shift, strict=True)]
            bounds = patch_bounds(middle, case.shape, self.patch_size, self.final_patch_size)
            return _DrawnPatch(which, case, bounds, case.target_patch(drawn, bounds), self.final_patch_size)
        except Exception as error:  # one bad case must not end a training of a week
            self._avoid(which, name, error)
            return None

    def _augmented(self, drawn: _DrawnPatch, naming: bool) -> Sample | None:
        """The patch's image, and the object in it or all voxels' classes, augmented; None if it can't be read."""
        try:
            target = self.classes[drawn.dataset].patch(drawn.case, drawn.bounds) if naming else drawn.target
            target = target.astype(np.int16)[None]
            if self.mark_outside:
                target[(target == 0) & drawn.case.outside_patch(drawn.bounds)] = -1
            image = torch.from_numpy(drawn.case.image_patch(drawn.bounds))
        except Exception as error:  # as above
            self._avoid(drawn.dataset, drawn.case.name, error)
            return None
        if self.transforms is None:
            return image, torch.from_numpy(target), drawn.case.name
        augmented = self.transforms(image=image, segmentation=torch.from_numpy(target))
        return augmented["image"], augmented["segmentation"], drawn.case.name

    def _draw_case(self, rng: np.random.Generator) -> tuple[int, str]:
        weights = self._weights * [bool(cases) for cases in self._cases]
        if not weights.any():
            raise UserError("Not one case with supervoxels can be read any more; see the warnings above for why.")
        which = weighted_choice(weights, rng)
        return which, self._cases[which][rng.integers(len(self._cases[which]))]

    def _avoid(self, which: int, name: str, error: Exception) -> None:
        """Draw a case never again, and say so once."""
        if name in self._cases[which]:
            warnings.warn(f"Case {name} is skipped from now on: {error}", stacklevel=2)
            self._cases[which].remove(name)


def finest(scales: torch.Tensor | list[torch.Tensor] | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Of targets or outputs for deep supervision those at full resolution; others are that already."""
    return scales[0] if isinstance(scales, (list, tuple)) else scales


def _count_voxels(target: torch.Tensor | list[torch.Tensor]) -> int:
    return int(np.count_nonzero(finest(target).numpy() > 0))


def _nothing_in_sight() -> UserError:
    return UserError(
        f"{MAX_DRAWS} draws gave no object with a voxel in its patch; the supervoxels are empty or damaged, "
        "generate them again with 'nnUNetv2_supervoxel_generate ... --overwrite'."
    )


@cache
def _thread_pools() -> ThreadpoolController:
    """The process's thread pools: to look them up for every batch, as `threadpool_limits` does, takes milliseconds."""
    return ThreadpoolController()
