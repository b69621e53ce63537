"""Small pictures of slices with outlines in colour."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

Colour = tuple[int, int, int]  # red, green, blue, 0 to 255

# Bright on grey, neighbours in the list far apart in hue: matplotlib's tab20 without its greys and browns, reordered.
PALETTE: tuple[Colour, ...] = (
    (255, 127, 14),
    (23, 190, 207),
    (214, 39, 40),
    (44, 190, 44),
    (227, 119, 194),
    (188, 189, 34),
    (70, 130, 255),
    (255, 187, 120),
    (152, 223, 138),
    (197, 100, 255),
    (255, 152, 150),
    (158, 218, 229),
    (219, 219, 80),
    (247, 182, 210),
)
_SUBPIXEL_BITS = 4
_QUALITY = 75  # of WebP


def colour(index: int) -> Colour:
    """Of the supervoxel with this index, in every picture and in the viewer."""
    return PALETTE[index % len(PALETTE)]


def fit(shape: Sequence[int], pixel_size: Sequence[float], side: int) -> tuple[int, int]:
    """Height and width of a picture whose longer side has `side` pixels and that shows mm alike in both directions."""
    extent = np.array(shape[:2]) * pixel_size
    height, width = np.maximum(1, np.rint(side * extent / extent.max())).astype(int).tolist()
    return height, width


def draw(
    levels: np.ndarray, outlines: Iterable[tuple[np.ndarray, Colour]], size: tuple[int, int], thickness: int = 1
) -> np.ndarray:
    """A slice with outlines.

    Args:
        levels: uint8 (rows, columns).
        outlines: masks, boolean (rows, columns), and their colours; later ones lie on top.
        size: height and width of the picture.
        thickness: of lines, in pixels.

    Returns:
        uint8 (height, width, 3): red, green, blue.
    """
    height, width = size
    smaller = height < levels.shape[0] or width < levels.shape[1]
    grey = cv2.resize(
        np.ascontiguousarray(levels), (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    )
    picture = np.repeat(grey[..., None], 3, axis=2)
    scale = np.array([width / levels.shape[1], height / levels.shape[0]])
    for mask, line_colour in outlines:
        found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        lines = [_fixed_point((contour[:, 0] + 0.5) * scale - 0.5) for contour in found]
        cv2.polylines(picture, lines, True, line_colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    return picture


def side_by_side(pictures: Sequence[np.ndarray], gap: int = 4) -> np.ndarray:
    """Pictures (height, width, 3) in a row on black, each in the middle of its height."""
    height = max(len(picture) for picture in pictures)
    row = np.zeros((height, sum(picture.shape[1] + gap for picture in pictures) - gap, 3), np.uint8)
    left = 0
    for picture in pictures:
        top = (height - len(picture)) // 2
        row[top : top + len(picture), left : left + picture.shape[1]] = picture
        left += picture.shape[1] + gap
    return row


def as_webp(picture: np.ndarray) -> bytes:
    """A picture (height, width, 3) as WebP, which every browser shows."""
    _, encoded = cv2.imencode(".webp", picture[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    return encoded.tobytes()


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as an address that holds them, so that a page needs no other file; `kind` such as "image/webp"."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _fixed_point(points: np.ndarray) -> np.ndarray:
    """Points (k, 2) as OpenCV takes them to draw between pixels: int32 (k, 1, 2)."""
    return np.rint(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)[:, None]
