"""The picture of an object of a validation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from nnunetv2_supervoxel.pages.object_pictures import COLOURS, SIDE, object_picture
from nnunetv2_supervoxel.prompts.interaction import Interaction

SHAPE, SPACING = (12, 20, 30), (2.5, 1.0, 1.0)
TARGET, PREDICTION = (np.zeros(SHAPE, bool) for _ in range(2))
TARGET[3:9, 4:14, 5:15] = True
PREDICTION[3:9, 4:14, 12:25] = True


def point(voxel: tuple[int, int, int], positive: bool) -> Interaction:
    origin = tuple(index - 2 for index in voxel)
    return Interaction("point", positive, origin, np.ones((5, 5, 5), np.float32))


def drawn(prompts: list[Interaction]) -> dict[str, np.ndarray]:
    """By what is drawn, where its colour is in the picture: boolean (rows, columns)."""
    picture = object_picture(np.full(SHAPE, 0.5), TARGET, PREDICTION, prompts, SPACING)
    pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    return {name: np.abs(pixels - colour).max(axis=2) < 90 for name, colour in COLOURS.items()}


def test_object_prediction_and_prompts_are_on_it() -> None:
    seen = drawn([point((6, 8, 8), True), point((6, 8, 20), False)])
    assert all(mask.sum() > 20 for mask in seen.values())
    first = {name: np.nonzero(mask[:, :SIDE])[1] for name, mask in seen.items()}  # the plane of the first axis
    pixels = SIDE / 30  # of a voxel
    for name, voxel in (("positive prompt", 8), ("negative prompt", 20)):
        middle = (first[name].min() + first[name].max()) / 2
        assert middle == pytest.approx((voxel + 0.5) * pixels, abs=pixels)
    assert first["prediction"].max() == pytest.approx(24.5 * pixels, abs=pixels)


def test_a_prompt_may_reach_beyond_the_patch() -> None:
    seen = drawn([point((0, 1, 29), True)])  # of its 5 x 5 voxels, 4 rows and 3 columns are in the patch
    rows, columns = np.nonzero(seen["positive prompt"][:, :SIDE])
    pixels = SIDE / 30
    above = (SIDE - 20 * pixels) / 2  # the other planes are higher: 30 mm
    assert rows.max() == pytest.approx(above + 3.5 * pixels, abs=pixels / 2)
    assert columns.min() == pytest.approx(27.5 * pixels, abs=pixels / 2)
    assert seen["negative prompt"].sum() == 0
