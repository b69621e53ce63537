"""Supervoxels from disk, one after the other."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.files.supervoxel_files import write_case
from nnunetv2_supervoxel.quality.reading import read_supervoxels

SHAPE = (6, 10, 15)


@pytest.fixture
def written(cuboids, supervoxels_of, tmp_path):
    """A folder with one case, and its masks."""
    masks = [cuboids(((1, 3), (2, 6), (4, 10)), ((3, 4), (6, 7), (10, 12))), cuboids(((0, 6), (0, 10), (14, 15)))]
    write_case(tmp_path, "case", supervoxels_of(*masks, axis=2), {}, (4, 4, 4))
    return tmp_path, masks


def test_masks_boxes_and_axes_are_those_that_were_written(written) -> None:
    folder, masks = written
    found = read_supervoxels(folder, "case", SHAPE)
    np.testing.assert_array_equal(found.to_array() > 0, masks)
    assert [one.bounding_box for one in found.supervoxels] == [[[1, 4], [2, 7], [4, 12]], [[0, 6], [0, 10], [14, 15]]]
    assert [one.axis for one in found.supervoxels] == [2, 2]


def test_a_supervoxel_without_voxels_stays_in_its_place(cuboids, supervoxels_of, tmp_path) -> None:
    nothing, something = np.zeros(SHAPE, bool), cuboids(((1, 3), (2, 6), (4, 10)))
    write_case(tmp_path, "case", supervoxels_of(nothing, something), {}, (4, 4, 4))
    assert [one.voxels for one in read_supervoxels(tmp_path, "case", SHAPE).supervoxels] == [0, 48]


def test_a_case_without_supervoxels(cuboids, supervoxels_of, tmp_path) -> None:
    nothing = type(supervoxels_of(cuboids()))(SHAPE, ())
    write_case(tmp_path, "case", nothing, {})
    assert len(read_supervoxels(tmp_path, "case", SHAPE)) == 0


def test_files_that_do_not_fit_are_told(written) -> None:
    folder, _ = written
    with pytest.raises(UserError, match=r"has shape \(2, 6, 10, 15\).* lists 2 .* has shape \(6, 10, 14\)"):
        read_supervoxels(folder, "case", (6, 10, 14))
    provenance = json.loads((folder / "case.json").read_text())
    (folder / "case.json").write_text(json.dumps(provenance | {"supervoxels": provenance["supervoxels"][:1]}))
    with pytest.raises(UserError, match="JSON lists 1 supervoxels"):
        read_supervoxels(folder, "case", SHAPE)
    for damaged in ("{}", '{"n": 2}', '{"supervoxels": [{}]}'):
        (folder / "case.json").write_text(damaged)
        with pytest.raises(UserError, match="doesn't describe supervoxels"):
            read_supervoxels(folder, "case", SHAPE)


def test_damaged_and_missing_files_are_told(rng, supervoxels_of, tmp_path) -> None:
    write_case(tmp_path, "case", supervoxels_of(rng.random((40, 50, 60)) < 0.5), {}, (16, 16, 16))
    array = tmp_path / "case.b2nd"
    array.write_bytes(array.read_bytes()[: array.stat().st_size // 2])
    with pytest.raises(UserError, match=r"case\.b2nd (is damaged|can't be opened|is missing or damaged)"):
        read_supervoxels(tmp_path, "case", (40, 50, 60))
    array.unlink()
    with pytest.raises(UserError, match=r"case\.b2nd (can't be opened|is missing)"):
        read_supervoxels(tmp_path, "case", (40, 50, 60))
    with pytest.raises(UserError, match=r"other\.json can't be read"):
        read_supervoxels(tmp_path, "other", (40, 50, 60))
