from __future__ import annotations

import numpy as np
import pytest
import torch

from nnunetv2_supervoxel.checkpoints.loading import load_sam2
from nnunetv2_supervoxel.generation.sam.encoding import SliceEncoder


@pytest.fixture(scope="module")
def encode() -> SliceEncoder:
    return SliceEncoder(load_sam2("bundled").model)


def test_slices_encoded_together_are_as_if_encoded_alone(encode: SliceEncoder, moving_objects: tuple) -> None:
    volume, _, _ = moving_objects

    def read(frame: int) -> np.ndarray:
        return np.repeat(volume[frame][None], 3, 0)

    with torch.inference_mode():
        together = encode([read(3), read(9), read(20)])
        alone = encode([read(20)])[0]
    assert [feature.shape for feature in together[2].maps] == [feature.shape for feature in alone.maps]
    for one, other in zip(together[2].maps, alone.maps, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[0].maps[-1], alone.maps[-1], atol=1e-2)


def test_grey_slices_are_as_three_equal_colours(encode: SliceEncoder, moving_objects: tuple) -> None:
    grey = moving_objects[0][3:5, None]
    with torch.inference_mode():
        one, three = (encode([np.repeat(image, colours, 0) for image in grey]) for colours in (1, 3))
    for frame in (0, 1):
        for level in zip(one[frame].maps, three[frame].maps, strict=True):
            assert torch.equal(*level)
