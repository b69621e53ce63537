"""An object of a validation in one small picture: image, prompts, what was wanted and what was predicted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnunetv2_supervoxel.pages.orientation import Orientation
from nnunetv2_supervoxel.pages.pictures import Colour, as_webp, draw, fit, side_by_side
from nnunetv2_supervoxel.prompts.interaction import Interaction
from nnunetv2_supervoxel.quality.description import grey_levels

SIDE = 240  # pixels of a plane's longer side
COLOURS: dict[str, Colour] = {
    "object": (44, 190, 44),
    "prediction": (230, 50, 50),
    "positive prompt": (255, 221, 0),
    "negative prompt": (70, 160, 255),
}


def object_picture(
    image: np.ndarray,
    target: np.ndarray,
    prediction: np.ndarray,
    prompts: Sequence[Interaction],
    spacing: Sequence[float],
) -> bytes:
    """Three planes of a patch through the middle of the first prompt, as WebP. Axes lie as they are stored.

    Args:
        image: (z, y, x), any real numbers.
        target: boolean (z, y, x).
        prediction: boolean (z, y, x), after the last prompt.
        prompts: all that were given, at least one.
        spacing: voxel size (z, y, x) in mm.
    """
    orientation = Orientation.of_case({}, (0, 1, 2), spacing)
    voxel = np.clip(prompts[0].centre, 0, np.array(image.shape) - 1)
    layers = [(target, COLOURS["object"]), (prediction, COLOURS["prediction"])]
    layers += [(_stamped(prompt, image.shape), COLOURS[_sign(prompt)]) for prompt in prompts]
    pictures = []
    for axis, grey in enumerate(_grey_planes(image, voxel)):
        plane = orientation.seen(grey, axis)
        outlines = ((orientation.seen(np.take(mask, voxel[axis], axis), axis), line) for mask, line in layers)
        pictures.append(draw(plane, outlines, fit(plane.shape, orientation.pixel_size(axis), SIDE), thickness=2))
    return as_webp(side_by_side(pictures))


def _grey_planes(image: np.ndarray, voxel: np.ndarray) -> list[np.ndarray]:
    """The three planes through a voxel, uint8, all in the same window."""
    planes = [np.take(image, voxel[axis], axis) for axis in range(3)]
    levels = grey_levels(np.concatenate([plane.ravel() for plane in planes])[None, None])[0, 0]
    ends = np.cumsum([plane.size for plane in planes])
    return [part.reshape(plane.shape) for part, plane in zip(np.split(levels, ends[:-1]), planes, strict=True)]


def _sign(prompt: Interaction) -> str:
    return "positive prompt" if prompt.positive else "negative prompt"


def _stamped(prompt: Interaction, shape: Sequence[int]) -> np.ndarray:
    """Where a prompt marks a volume; what reaches beyond it is cut off."""
    marked = np.zeros(shape, bool)
    inside = [slice(max(0, -start), size - start) for start, size in zip(prompt.origin, shape, strict=True)]
    stamp = prompt.stamp[tuple(inside)] > 0
    low = [max(0, start) for start in prompt.origin]
    marked[tuple(slice(start, start + size) for start, size in zip(low, stamp.shape, strict=True))] = stamp
    return marked
