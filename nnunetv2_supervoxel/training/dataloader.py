"""Batches of patches, each around an object of a case."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeAlias

import numpy as np
import torch
from batchgenerators.dataloading.data_loader import DataLoader
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from threadpoolctl import ThreadpoolController

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.randomness import weighted_choice
from nnunetv2_supervoxel.training.dataset import PromptDataset, patch_bounds
from nnunetv2_supervoxel.training.sampling import AugmentedView, Place, Sample, Sampler

Augmenter: TypeAlias = SingleThreadedAugmenter | NonDetMultiThreadedAugmenter

MAX_DRAWS = 50  # per sample; after that, the largest object seen so far is taken


class PromptDataLoader(DataLoader):
    """Draws a dataset, a case, an object of it, and a patch around a voxel of the object; a sampler does the rest.

    It has the interface of batchgenerators, and runs in `NonDetMultiThreadedAugmenter` and `SingleThreadedAugmenter`.

    Args:
        datasets: to draw from.
        batch_size: patches per batch.
        patch_size: (z, y, x) in voxels, what is read. Augmentation needs larger patches than it leaves.
        final_patch_size: (z, y, x) in voxels, what augmentation leaves.
        transforms: nnU-Net's augmentation, called with image (c, z, y, x) and segmentation (k, z, y, x); or None.
        sampler: makes samples of the places drawn. None means `Sampler`, which shows the object there.
        weights: how often each dataset is drawn (relative). None means equally often.
        real_label_fraction: probability that the object is a real label's component, if the case has one.
        min_target_voxels: if an object has fewer voxels in the final patch, before or after augmentation, another one
            is drawn.
        max_shift: how far, as a share of the final patch, the drawn voxel may lie from the patch's middle.
        mark_outside: write -1 into the mask outside nnU-Net's nonzero mask, for transforms that need it.
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
        sampler: Sampler | None = None,
        weights: Sequence[float] | None = None,
        real_label_fraction: float = 0.0,
        min_target_voxels: int = 1,
        max_shift: float = 0.0,
        mark_outside: bool = False,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__(datasets, batch_size, 1, None, True, False, True)
        self.patch_size = tuple(int(size) for size in patch_size)
        self.final_patch_size = tuple(int(size) for size in final_patch_size)
        self.transforms = transforms
        self.sampler = sampler or Sampler()
        self.real_label_fraction = real_label_fraction
        self.min_target_voxels = min_target_voxels
        self.max_shift = max_shift
        self.mark_outside = mark_outside
        self._weights = np.asarray([1.0] * len(datasets) if weights is None else weights, np.float64)
        self._cases = [list(dataset.identifiers) for dataset in datasets]
        self._rng = rng

    def generate_train_batch(self) -> dict:
        """Draw a batch.

        Returns:
            What the sampler makes. For `Sampler` itself: data, float32 tensor (b, c, z, y, x); target, int16 tensor
            (b, 1, z, y, x) of 0, 1 and `UNKNOWN`, or a list of them for deep supervision, finest first; keys, case
            identifiers.

        Raises:
            UserError: no case can be read any more, or no object has a voxel in its patch.
        """
        if self._rng is None:
            self._rng = np.random.default_rng(np.random.randint(0, 2**32, size=4, dtype=np.uint32))
        with torch.no_grad(), _thread_pools().limit(limits=1):
            samples = [self._draw_sample(self._rng) for _ in range(self.batch_size)]
        return self.sampler.batch(samples)

    def _draw_sample(self, rng: np.random.Generator) -> Sample:
        """A sample whose object is large enough, or else the largest object of many draws.

        If an object is too small, its image isn't read. Augmentation can still move a large object out of the patch.
        """
        best = None
        for _ in range(MAX_DRAWS):
            place = self._draw_place(rng)
            if place is None or not place.voxels:
                continue
            if place.voxels >= self.min_target_voxels:
                sample = self._sample(place)
                if sample is None:
                    continue
                if sample.voxels >= self.min_target_voxels:
                    return sample
            if best is None or place.voxels > best.voxels:
                best = place
        if best is None:
            raise _nothing_in_sight()
        # Draws again if the image turns out to be damaged.
        return self._sample(best) or self._draw_sample(rng)

    def _draw_place(self, rng: np.random.Generator) -> Place | None:
        """A case, one of its objects, and a patch around it. None if the case has no object or can't be read."""
        which, name = self._draw_case(rng)
        try:
            case = self._data[which].open_case(name)
            drawn = case.draw_object(rng, from_labels=True) if rng.random() < self.real_label_fraction else None
            drawn = drawn or case.draw_object(rng, from_labels=not case.has_supervoxels)
            if drawn is None:
                return None
            shift = rng.uniform(-self.max_shift, self.max_shift, 3) * self.final_patch_size
            middle = [index + int(offset) for index, offset in zip(drawn.centre, shift, strict=True)]
            bounds = patch_bounds(middle, case.shape, self.patch_size, self.final_patch_size)
            return Place(which, case, drawn, bounds, case.target_patch(drawn, bounds), self.final_patch_size, rng)
        except Exception as error:  # one bad case must not end a training of a week
            self._avoid(which, name, error)
            return None

    def _sample(self, place: Place) -> Sample | None:
        """What the sampler makes of a place; None if it can't be read."""
        try:
            views = self.sampler.read(place, self.mark_outside)
        except Exception as error:  # as above
            self._avoid(place.dataset, place.case.name, error)
            return None
        return self.sampler.sample(place, [self._augment(*view) for view in views])

    def _augment(self, image: np.ndarray, segmentation: np.ndarray) -> AugmentedView:
        tensors = {"image": torch.from_numpy(image), "segmentation": torch.from_numpy(segmentation)}
        augmented = self.transforms(**tensors) if self.transforms else tensors
        return augmented["image"], augmented["segmentation"]

    def _draw_case(self, rng: np.random.Generator) -> tuple[int, str]:
        weights = self._weights * [bool(cases) for cases in self._cases]
        if not weights.any():
            raise UserError("Not one case with supervoxels can be read any more; see the warnings above for why.")
        which = weighted_choice(weights, rng)
        return which, self._cases[which][rng.integers(len(self._cases[which]))]

    def _avoid(self, which: int, name: str, error: Exception) -> None:
        """Never draw a case again, and warn about it once."""
        if name in self._cases[which]:
            warnings.warn(f"Case {name} is skipped from now on: {error}", stacklevel=2)
            self._cases[which].remove(name)


def start_loader(loader: PromptDataLoader, processes: int, pin_memory: bool = False) -> Augmenter:
    """Run a loader in worker processes (0: in this process). Returns when its first batch is there."""
    running: Augmenter
    if processes == 0:
        running = SingleThreadedAugmenter(loader, None)
    else:
        cached = max(3, processes // 2)
        running = NonDetMultiThreadedAugmenter(
            loader, None, processes, num_cached=cached, pin_memory=pin_memory, wait_time=0.002
        )
    next(running)
    return running


def _nothing_in_sight() -> UserError:
    return UserError(
        f"{MAX_DRAWS} draws gave no object with a voxel in its patch. The supervoxels are empty or damaged; "
        "generate them again with 'nnUNetv2_supervoxel_generate ... --overwrite'."
    )


@cache
def _thread_pools() -> ThreadpoolController:
    """The process's thread pools. `threadpool_limits` looks them up for every batch, which takes milliseconds."""
    return ThreadpoolController()
