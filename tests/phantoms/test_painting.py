import numpy as np

from nnunetv2_supervoxel.phantoms.painting import Canvas


def test_a_region_is_painted_in_its_parent_alone() -> None:
    canvas = Canvas(np.zeros((6, 7, 8), np.int16))
    left = np.zeros((6, 7, 8), bool)
    left[:, :, :4] = True
    assert canvas.paint(left, 0, "grey") == 1
    assert canvas.paint(np.ones((6, 5, 8), bool), 1, "white", (slice(0, 6), slice(1, 6), slice(0, 8))) == 2
    assert (canvas.labels[:, 1:6, :4] == 2).all()
    assert (canvas.labels[:, [0, 6], :4] == 1).all()
    assert (canvas.labels[:, :, 4:] == 0).all()
    assert (canvas.parents, canvas.tissues) == ([0, 1], ["grey", "white"])


def test_what_is_too_small_is_not_painted() -> None:
    canvas = Canvas(np.zeros((6, 7, 8), np.int16))
    mask = np.zeros((6, 7, 8), bool)
    mask[0, :5, :8] = True  # 40 voxels
    assert canvas.paint(mask, 0) == 0
    assert not canvas.labels.any()
    assert canvas.parents == []
