"""The method "sam": SAM proposes objects on keyframe slices, SAM 2 carries them through the volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch

from nnunetv2_supervoxel.checkpoints.loading import load_sam, load_sam2
from nnunetv2_supervoxel.checkpoints.registry import check_all_there
from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.generation.methods.base import Image, Method
from nnunetv2_supervoxel.generation.sam.encoding import SliceFeatures
from nnunetv2_supervoxel.generation.sam.keyframes import keyframe_candidates
from nnunetv2_supervoxel.generation.sam.propagation import Propagator, Seeds
from nnunetv2_supervoxel.generation.sam.proposal_choice import choose_proposals
from nnunetv2_supervoxel.generation.sam.proposals import Proposal, Proposer
from nnunetv2_supervoxel.generation.sam.sam2_proposals import Sam2Proposer
from nnunetv2_supervoxel.generation.sam.supervoxels import supervoxels_of
from nnunetv2_supervoxel.generation.sam.tracks import Track
from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel, SupervoxelSet
from nnunetv2_supervoxel.randomness import case_generator


class SamMethod(Method):
    """Proposals on keyframe slices, their tracks in both directions, and of each track the part that holds the seed."""

    packages = ("torchvision", "segment-anything", "sam2")

    def __init__(self, config: GenerationConfig, device: torch.device) -> None:
        self.config = config
        check_all_there({"sam": config.sam1_checkpoint, "sam2": config.sam2_checkpoint})
        sam2 = load_sam2(config.sam2_checkpoint, device, image_size=config.sam2_image_size)
        self._checkpoints: dict[str, dict[str, Any]] = {
            "sam2": {"name": sam2.name, "sha256": sam2.sha256, "image_size": sam2.image_size}
        }
        self._propagate = Propagator(
            sam2.model,
            objects_per_batch=config.objects_per_batch,
            precision=config.precision,
            max_growth=config.max_track_growth,
            keep_slices=config.keep_slices,
            check_consistency=config.min_consistency is not None,
        )
        self._propose: Proposer | Sam2Proposer
        if config.sam1_checkpoint is None:
            self._propose = Sam2Proposer(sam2.model, config, self._propagate.precision)
        else:
            sam = load_sam(config.sam1_checkpoint, device)
            self._checkpoints["sam1"] = {"name": sam.name, "sha256": sam.sha256}
            self._propose = Proposer(sam.model, config)

    @property
    def provenance(self) -> dict[str, Any]:
        """The checkpoints: of each its name and SHA-256, of SAM 2 also the size to which it resizes slices."""
        return {"checkpoints": self._checkpoints}

    def __call__(self, image: Image) -> SupervoxelSet:
        """Make the supervoxels of one image: first all proposals, then their tracks, one axis after the other."""
        self._propose.points_per_batch = self.config.points_per_batch  # whatever memory another case needed
        keyframes = list(self._keyframes(image))
        if not keyframes:
            return SupervoxelSet(image.shape, (), image.spacing, ("SAM proposed no object",))
        found = [supervoxel for supervoxel in self._supervoxels(image, keyframes) if supervoxel]
        notes = () if found else ("no proposal became a supervoxel",)
        return SupervoxelSet(image.shape, tuple(found), image.spacing, notes)

    def _supervoxels(self, image: Image, keyframes: Sequence[_Keyframe]) -> Iterator[Supervoxel | None]:
        """One for each proposal, in the keyframes' order; None where nothing is left of it."""
        made: dict[int, list[Supervoxel | None]] = {}
        for axis in sorted({keyframe.axis for keyframe in keyframes}):
            numbers = [number for number, keyframe in enumerate(keyframes) if keyframe.axis == axis]
            tracks = self._tracks(image, axis, [keyframes[number] for number in numbers])
            for number, its_tracks in zip(numbers, tracks, strict=True):
                made[number] = supervoxels_of(its_tracks, keyframes[number].proposals, keyframes[number].index, axis)
        return chain.from_iterable(made[number] for number in range(len(keyframes)))

    def _keyframes(self, image: Image) -> Iterator[_Keyframe]:
        """Keyframe slices, each with its share of `masks_per_image` proposals, chosen from all there.

        A keyframe is the first of `max_keyframes` slices with enough proposals, or else the one with most of them.
        There are fewer than asked if there are not so many slices, or where SAM proposes nothing.
        """
        config = self.config
        candidates = keyframe_candidates(image, config, case_generator(config.seed, image.name, "keyframe"))
        rng, left = case_generator(config.seed, image.name, "proposals"), config.masks_per_image
        for number, (axis, slices) in enumerate(candidates):
            keyframe = self._first_with_enough(image, axis, slices)
            share = min(-(-left // (len(candidates) - number)), config.masks_per_keyframe or left)
            keyframe.proposals = choose_proposals(keyframe.proposals, share, config.proposal_choice, rng)
            left -= len(keyframe.proposals)
            if keyframe.proposals:
                yield keyframe
            if not left:
                return

    def _first_with_enough(self, image: Image, axis: int, candidates: Sequence[int]) -> _Keyframe:
        """Of the slices to try, the first with `min_proposals`, or else the one with most; and its proposals."""
        best = _Keyframe(axis, 0, [])
        for index in candidates:
            proposals = self._propose(image.windowed_slice(axis, index))
            if len(proposals) > len(best.proposals):
                best = _Keyframe(axis, index, proposals, self._shared_features())
            if len(proposals) >= self.config.min_proposals:
                break
        return best

    def _shared_features(self) -> SliceFeatures | None:
        """What propagation needs not encode again: the slice on which SAM 2 has just proposed objects."""
        if not isinstance(self._propose, Sam2Proposer) or self.config.keep_slices == "never":
            return None
        return self._propose.features.to(torch.device("cpu"))

    def _tracks(self, image: Image, axis: int, keyframes: Sequence[_Keyframe]) -> list[list[Track]]:
        """For every keyframe of an axis a track per proposal; of a volume with one slice, the proposals themselves."""
        frames = image.shape[axis]
        seeds = [Seeds(keyframe.index, np.stack([p.mask for p in keyframe.proposals])) for keyframe in keyframes]
        if frames > 1:
            known = {keyframe.index: keyframe.features for keyframe in keyframes if keyframe.features}
            colours = image.colours  # three equal ones would be resized three times
            return self._propagate(lambda frame: image.windowed_slice(axis, frame)[:colours], frames, seeds, known)
        tracks = [[Track() for _ in of.masks] for of in seeds]
        for its_tracks, of in zip(tracks, seeds, strict=True):
            for track, mask in zip(its_tracks, of.masks, strict=True):
                track[of.keyframe] = mask
        return tracks


@dataclass
class _Keyframe:
    """A slice on which SAM looked, and what is taken of what it proposed there.

    Attributes:
        axis: along which the volume is sliced.
        index: of the slice.
        proposals: all, later those that are taken.
        features: the slice as SAM 2 encoded it to propose objects; None if it didn't.
    """

    axis: int
    index: int
    proposals: list[Proposal]
    features: SliceFeatures | None = None
