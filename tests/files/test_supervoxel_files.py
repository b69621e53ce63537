"""A case's files as a whole."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import blosc2
import numpy as np
import pytest

from nnunetv2_supervoxel import SupervoxelSet, UserError
from nnunetv2_supervoxel.files import class_locations, supervoxel_files

SHAPE = (17, 40, 65)

Make = Callable[[np.random.Generator], SupervoxelSet]


def read_sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_triple_holds_what_was_given(some_supervoxels: Make, tmp_path: Path, rng: np.random.Generator) -> None:
    supervoxels = some_supervoxels(rng)
    supervoxel_files.write_case(tmp_path, "case", supervoxels, {"seed": 7})
    assert sorted(os.listdir(tmp_path)) == ["case.b2nd", "case.json", "case.pkl"]

    array = blosc2.open(str(tmp_path / "case.b2nd"))
    assert array.dtype == np.uint8
    assert array.chunks[0] == array.blocks[0] == 1
    stack = np.zeros((3, *SHAPE), np.uint8)
    stack[0, 2:11, 5:25, 20:51] = supervoxels.supervoxels[0].mask
    stack[1, 16, 39, 64] = 1
    stack[2, 4:7, 0:30, 30:34] = 1
    np.testing.assert_array_equal(array[:], stack)
    np.testing.assert_array_equal(supervoxels.to_array(), stack)

    provenance = json.loads((tmp_path / "case.json").read_text())
    assert provenance["seed"] == 7
    assert (provenance["n"], provenance["shape"], provenance["spacing"]) == (3, [17, 40, 65], [3.0, 0.5, 0.7])
    assert provenance["notes"] == ["a note"]
    assert provenance["array_sha256"] == read_sha(tmp_path / "case.b2nd")
    assert provenance["supervoxels"][2] == {
        "axis": 0,
        "keyframe": 6,
        "predicted_iou": 0.7,
        "stability_score": 0.93,
        "consistency": None,
        "voxels": 360,
        "bounding_box": [[4, 7], [0, 30], [30, 34]],
    }


def test_the_same_supervoxels_give_the_same_bytes(some_supervoxels: Make, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        supervoxel_files.write_case(tmp_path / folder, "case", some_supervoxels(np.random.default_rng(3)), {})
    for end in (".b2nd", ".pkl", ".json"):
        assert read_sha(tmp_path / "a" / f"case{end}") == read_sha(tmp_path / "b" / f"case{end}")


def test_nothing_found_is_remembered_by_the_json_alone(
    some_supervoxels: Make, tmp_path: Path, rng: np.random.Generator
) -> None:
    supervoxel_files.write_case(tmp_path, "case", some_supervoxels(rng), {})
    supervoxel_files.write_case(tmp_path, "case", SupervoxelSet(SHAPE, (), notes=("SAM proposed no object",)), {})
    assert os.listdir(tmp_path) == ["case.json"]
    assert "array_sha256" not in json.loads((tmp_path / "case.json").read_text())
    assert supervoxel_files.is_done(tmp_path, "case")
    assert supervoxel_files.list_cases(tmp_path) == []


@pytest.mark.parametrize("missing", [".b2nd", ".pkl", ".json"])
def test_a_case_with_a_missing_file_is_not_done(
    some_supervoxels: Make, tmp_path: Path, rng: np.random.Generator, missing: str
) -> None:
    supervoxel_files.write_case(tmp_path, "case", some_supervoxels(rng), {})
    assert supervoxel_files.is_done(tmp_path, "case")
    (tmp_path / f"case{missing}").unlink()
    assert not supervoxel_files.is_done(tmp_path, "case")


@pytest.mark.parametrize("left", [0, 20, 0.5, 0.999])
def test_a_case_whose_array_was_cut_off_is_not_done(
    some_supervoxels: Make, tmp_path: Path, rng: np.random.Generator, left: float
) -> None:
    supervoxel_files.write_case(tmp_path, "case", some_supervoxels(rng), {})
    array = tmp_path / "case.b2nd"
    whole = array.read_bytes()
    array.write_bytes(whole[: left if left > 1 else int(left * len(whole))])
    assert not supervoxel_files.is_done(tmp_path, "case")
    array.write_bytes(whole)
    assert supervoxel_files.is_done(tmp_path, "case")


def test_a_failure_while_writing_leaves_the_old_files(
    some_supervoxels: Make, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervoxel_files.write_case(tmp_path, "case", some_supervoxels(rng), {"run": 1})
    before = {path.name: read_sha(path) for path in tmp_path.iterdir()}

    def disk_full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(class_locations, "write_locations", disk_full)
    with pytest.raises(OSError, match="No space left"):
        supervoxel_files.write_case(tmp_path, "case", some_supervoxels(rng), {"run": 2})
    assert {path.name: read_sha(path) for path in tmp_path.iterdir()} == before


def test_damaged_files_are_told_in_plain_sentences(
    some_supervoxels: Make, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Without the words of Blosc2, pickle and JSON."""
    supervoxel_files.write_case(tmp_path, "case", some_supervoxels(rng), {})
    inside = bytearray((tmp_path / "case.b2nd").read_bytes())
    inside[len(inside) // 3 : len(inside) // 3 + 100] = bytes(100)  # it opens, but can't be decompressed
    told = {
        "case.b2nd": (
            inside,
            supervoxel_files.rewrite_locations,
            "is damaged; generate the case again (--overwrite -cases case).",
        ),
        "case.pkl": (
            b"(",
            supervoxel_files.read_locations,
            "can't be read as class locations: it is missing or damaged;",
        ),
        "case.json": (b"{", supervoxel_files.read_provenance, "can't be read: it is missing or damaged; generate the"),
    }
    for name, (content, read, words) in told.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError) as error:
            read(tmp_path, "case")
        assert str(error.value).startswith(f"{tmp_path / name} {words}")
    (tmp_path / "case.b2nd").write_bytes(b"nonsense")
    with pytest.raises(UserError) as error:
        supervoxel_files.open_array(tmp_path, "case")
    assert str(error.value) == (
        f"{tmp_path}/case.b2nd can't be opened: it is missing or damaged; generate the case again "
        "(--overwrite -cases case)."
    )
