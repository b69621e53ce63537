from __future__ import annotations

import numpy as np

from nnunetv2_supervoxel.generation.sam.tracks import Track
from nnunetv2_supervoxel.masks.boxes import bounding_box


def test_a_track_gives_back_its_masks(rng: np.random.Generator) -> None:
    masks = np.zeros((5, 21, 30), bool)
    masks[1:4, 3:16, 2:25] = rng.random((3, 13, 23)) < 0.1
    track = Track()
    for frame, mask in enumerate(masks):
        track[frame] = mask
    np.testing.assert_array_equal(track.in_box(tuple(slice(0, size) for size in masks.shape)), masks)
    np.testing.assert_array_equal(track.in_box(track.box()), masks[bounding_box(masks)])
    part = (slice(2, 5), slice(7, 19), slice(0, 11))  # through the middle of the masks
    np.testing.assert_array_equal(track.in_box(part), masks[part])
    beside = (slice(0, 5), slice(16, 21), slice(0, 30))
    assert not track.in_box(beside).any()


def test_a_track_takes_a_mask_in_any_order_of_memory(rng: np.random.Generator) -> None:
    mask = rng.random((34, 22)) < 0.5
    mask[[0, -1]] = mask[:, [0, -1]] = True  # as large as the slice, so that numpy keeps the order
    track = Track()
    track[3] = np.asfortranarray(mask)
    np.testing.assert_array_equal(track.in_box(track.box()), mask[None])
