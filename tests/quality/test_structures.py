"""Labels and their connected components."""

from __future__ import annotations

import numpy as np

from nnunetv2_supervoxel.quality.structures import find_structures


def label_map() -> np.ndarray:
    labels = np.zeros((6, 10, 15), np.int16)
    labels[0, 0, 0:3] = 5
    labels[1, 1, 3] = 5  # touches by a corner: one component
    labels[1:3, 4:6, 0:4] = 2  # 16 voxels
    labels[1:3, 4:6, 4:6] = 5  # beside another label: 8 voxels
    labels[5, 9, 10:15] = 2
    labels[5, 0, 0:4] = 9
    labels[:, :, 14] = np.where(labels[:, :, 14] == 0, -1, labels[:, :, 14])  # outside nnU-Net's nonzero mask
    return labels


def test_labels_as_wholes_and_in_components() -> None:
    found = find_structures(label_map(), ignored=9)
    assert list(zip(found.labels, found.parts, found.voxels, strict=True)) == [
        (2, 0, 21),
        (2, 1, 16),
        (2, 2, 5),
        (5, 0, 12),
        (5, 1, 4),
        (5, 2, 8),
    ]
    assert find_structures(label_map()).labels.tolist() == [2, 2, 2, 5, 5, 5, 9, 9]


def test_voxels_are_counted_by_structure() -> None:
    found = find_structures(label_map(), ignored=9)
    chosen = np.zeros((6, 10, 15), bool)
    chosen[1, :, 3:5] = True
    assert found.count(chosen).tolist() == [2, 2, 0, 3, 1, 2]


def test_the_components_of_a_structure() -> None:
    found = find_structures(label_map(), ignored=9)
    for index, (label, part) in enumerate(zip(found.labels, found.parts, strict=True)):
        inside = found.components_of(index)[found.components]
        assert inside.sum() == found.voxels[index]
        if part == 0:
            np.testing.assert_array_equal(inside, label_map() == label)


def test_no_labels_no_structures() -> None:
    assert len(find_structures(np.full((4, 5, 6), -1, np.int8))) == 0
