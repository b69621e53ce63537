"""How far supervoxels leak out of structures."""

from __future__ import annotations

import numpy as np

from nnunetv2_supervoxel.quality.overlap_counts import Overlaps


def undersegmentation_error(overlaps: Overlaps) -> np.ndarray:
    """How much of the supervoxels in a structure doesn't keep to its boundary: 0 if none crosses it.

    The under-segmentation error of Neubert & Protzel ("Superpixel benchmark and comparison", 2012): of every
    supervoxel P that shares voxels with the structure S, the smaller one of its two parts, |P ∩ S| and |P - S|, is
    an error. So one that only grazes the structure counts little. As in 3D (Xu & Corso, "Evaluation of super-voxel
    methods for early video processing", CVPR 2012) each structure has its own value, relative to its size::

        error(S) = sum over P of min(|P ∩ S|, |P - S|) / sum over P of |P ∩ S|

    In a partition the denominator is |S|. Ours may overlap, and leave voxels out: then it counts every voxel of the
    structure as often as supervoxels cover it, as the numerator does. So twice the same supervoxels have the same
    error, and voxels without a supervoxel, which coverage and Dice tell of, have none.

    Returns:
        (s,), 0 to 1; NaN where no supervoxel shares a voxel with the structure.
    """
    shared, structures = overlaps.shared, len(overlaps.structures)
    row, column = shared.coords
    errors = np.bincount(column, np.minimum(shared.data, overlaps.sizes[row] - shared.data), minlength=structures)
    covered = np.bincount(column, shared.data, minlength=structures)
    return np.divide(errors, covered, out=np.full(structures, np.nan), where=covered > 0)
