"""One object's masks, slice by slice."""

from __future__ import annotations

from threading import Lock

import numpy as np

from nnunetv2_supervoxel.masks.boxes import bounding_box

Box = tuple[slice, slice, slice]
"""Part of a volume: one slice object per axis, with start and stop."""


class Track:
    """One object's masks (h, w), slice by slice along one axis.

    Of each mask only the bits in its bounding box are kept. All bits lie in one buffer. Thousands of small arrays would
    lie scattered among the tensors of tracking, and the memory between them would be lost for large tensors.

    Attributes:
        consistency: see `Supervoxel`.
    """

    def __init__(self) -> None:
        self.consistency: float | None = None
        self._bits = bytearray()
        self._crops: dict[int, tuple[tuple[slice, ...], int]] = {}  # per slice: its box, and where its bits begin
        self._lock = Lock()  # two directions are tracked at the same time

    def __setitem__(self, frame: int, mask: np.ndarray) -> None:
        """Set the mask (h, w) of the slice with index `frame`."""
        box = bounding_box(mask)
        if box is not None:
            bits = np.packbits(mask[box], axis=1)
            with self._lock:
                self._crops[frame] = box, len(self._bits)
                self._bits += bits.tobytes()  # row by row, in whatever order torch left the mask

    def box(self) -> Box | None:
        """The bounding box (slice, row, column) of the whole object; None if the object is empty."""
        if not self._crops:
            return None
        boxes = [box for box, _ in self._crops.values()]
        rows, columns = (slice(min(b[i].start for b in boxes), max(b[i].stop for b in boxes)) for i in (0, 1))
        return slice(min(self._crops), max(self._crops) + 1), rows, columns

    def ends(self) -> tuple[int, int] | None:
        """The first and the last slice on which the object is; None if the object is empty."""
        return (min(self._crops), max(self._crops)) if self._crops else None

    def mask(self, frame: int, size: tuple[int, int]) -> np.ndarray:
        """The mask of one slice, boolean (height, width)."""
        return self.in_box((slice(frame, frame + 1), slice(0, size[0]), slice(0, size[1])))[0]

    def in_box(self, box: Box) -> np.ndarray:
        """The part of the object that lies in a box: a boolean array of the box's shape."""
        mask = np.zeros([side.stop - side.start for side in box], bool)
        for frame in range(box[0].start, box[0].stop):
            if frame not in self._crops:
                continue
            crop, start = self._crops[frame]
            both = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(crop, box[1:], strict=True)]
            if any(side.start >= side.stop for side in both):
                continue
            rows, columns = (slice(b.start - c.start, b.stop - c.start) for b, c in zip(both, crop, strict=True))
            unpacked = np.unpackbits(self._rows(crop, start)[rows], axis=1, count=columns.stop)
            place = (slice(b.start - o.start, b.stop - o.start) for b, o in zip(both, box[1:], strict=True))
            mask[(frame - box[0].start, *place)] = unpacked[:, columns]
        return mask

    def _rows(self, crop: tuple[slice, ...], start: int) -> np.ndarray:
        """The bits of a crop, packed along its rows."""
        height, width = (side.stop - side.start for side in crop)
        shape = height, -(-width // 8)
        return np.frombuffer(self._bits, np.uint8, shape[0] * shape[1], start).reshape(shape)
