"""Every way in which a case's files can break their contract is found, and nothing else."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import blosc2
import numpy as np
import pytest

from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.quality.contract import Remedy, check_case

SHAPE = (6, 10, 15)


@pytest.fixture
def folder(cuboids, supervoxels_of, tmp_path: Path) -> Path:
    """A folder with one case of three supervoxels: one of two parts, one that overlaps it, one without any voxel."""
    masks = [
        cuboids(((1, 3), (2, 6), (4, 10)), ((3, 4), (6, 7), (10, 12))),
        cuboids(((2, 6), (0, 10), (9, 15))),
        np.zeros(SHAPE, bool),
    ]
    supervoxel_files.write_case(tmp_path, "case", supervoxels_of(*masks, axis=2), {}, (4, 4, 4))
    return tmp_path


def change_json(folder: Path, **values: object) -> None:
    path = folder / "case.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_supervoxel(folder: Path, number: int, **values: object) -> None:
    described = json.loads((folder / "case.json").read_text())["supervoxels"]
    described[number - 1] |= values
    change_json(folder, supervoxels=described)


def change_array(folder: Path, index: tuple, value: int, same_digest: bool = False) -> None:
    array = blosc2.open(str(folder / "case.b2nd"), mode="a")
    array[index] = np.full(array[index].shape, value, np.uint8)
    if same_digest:
        change_json(folder, array_sha256=supervoxel_files.file_digest(folder, "case"))


def change_locations(folder: Path, change: Callable[[dict[int, np.ndarray]], object]) -> None:
    locations = supervoxel_files.read_locations(folder, "case")
    change(locations)
    (folder / "case.pkl").write_bytes(pickle.dumps({"class_locations": locations}))


def share_chunks(folder: Path) -> None:
    masks = blosc2.open(str(folder / "case.b2nd"))[:]
    (folder / "case.b2nd").unlink()
    blosc2.asarray(masks, urlpath=str(folder / "case.b2nd"), chunks=(3, 6, 10, 15), blocks=(3, 6, 10, 15))
    change_json(folder, array_sha256=supervoxel_files.file_digest(folder, "case"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def found_faults(folder: Path, shape: tuple[int, int, int] = SHAPE) -> list[tuple[str, Remedy]]:
    return [(fault.text, fault.remedy) for fault in check_case(folder, "case", shape)]


def test_what_generation_writes_is_sound(folder: Path) -> None:
    assert found_faults(folder) == []


def test_files_of_earlier_versions_are_sound(folder: Path) -> None:
    """No SHA-256, no consistency, and the older tool's list of class locations."""
    provenance = json.loads((folder / "case.json").read_text())
    del provenance["array_sha256"]
    for one in provenance["supervoxels"]:
        del one["consistency"]
    (folder / "case.json").write_text(json.dumps(provenance))
    older = [{1: rows[:, 1:]} for rows in supervoxel_files.read_locations(folder, "case").values()]
    (folder / "case.pkl").write_bytes(pickle.dumps(older))
    assert found_faults(folder) == []
    older[1][1][0] = 0
    (folder / "case.pkl").write_bytes(pickle.dumps(older))
    assert found_faults(folder) == [
        ("supervoxels 2 have no class locations, or some that aren't their voxels", Remedy.REWRITE)
    ]


def test_a_case_in_which_nothing_was_found(folder: Path, supervoxels_of) -> None:
    nothing = type(supervoxels_of(np.zeros(SHAPE, bool)))(SHAPE, ())
    supervoxel_files.write_case(folder, "case", nothing, {})
    assert found_faults(folder) == []
    (folder / "case.pkl").touch()
    ((text, remedy),) = found_faults(folder)
    assert "nothing was found" in text
    assert remedy == Remedy.REMOVE
    (folder / "case.pkl").unlink()
    change_json(folder, n=2)
    ((text, remedy),) = found_faults(folder)
    assert "doesn't say that there are none" in text
    assert remedy == Remedy.REMOVE


MENDABLE = {
    "count": (lambda folder: change_supervoxel(folder, 1, voxels=51), "supervoxels 1 have another number of voxels"),
    "box": (
        lambda folder: change_supervoxel(folder, 2, bounding_box=[[2, 6], [0, 10], [8, 15]]),
        "supervoxels 2 have another bounding box",
    ),
    "n": (lambda folder: change_json(folder, n=2), "the array holds 3 supervoxels, the JSON says 2"),
    "shape": (lambda folder: change_json(folder, shape=[6, 10, 14]), "the case has shape [6, 10, 14]"),
    "digest": (lambda folder: change_json(folder, array_sha256="0" * 64), "its SHA-256 differs"),
    "chunks": (share_chunks, "several supervoxels share a chunk"),
    "no pickle": (lambda folder: (folder / "case.pkl").unlink(), "case.pkl can't be read as class locations"),
    "damaged pickle": (lambda folder: cut(folder / "case.pkl"), "case.pkl can't be read as class locations"),
    "background": (
        lambda folder: change_locations(folder, lambda rows: rows[1].__setitem__((0, 1), 0)),
        "supervoxels 1 have no class locations, or some that aren't their voxels",
    ),
    "outside": (
        lambda folder: change_locations(folder, lambda rows: rows[2].__setitem__((3, 3), 15)),
        "supervoxels 2 have no class locations",
    ),
    "channel": (
        lambda folder: change_locations(folder, lambda rows: rows[2].__setitem__((3, 0), 2)),
        "supervoxels 2 have no class locations",
    ),
    "of another": (
        lambda folder: change_locations(folder, lambda rows: rows.update({3: rows[2]})),
        "supervoxels 3 have no class locations",
    ),
    "without locations": (
        lambda folder: change_locations(folder, lambda rows: rows.pop(1)),
        "supervoxels 1 have no class locations",
    ),
    "too many": (
        lambda folder: change_locations(folder, lambda rows: rows.update({4: rows[1][:0]})),
        "class locations of supervoxels 4, which don't exist",
    ),
}

HOPELESS = {
    "values": (lambda folder: change_array(folder, (1, 3, 4, 10), 7, True), "supervoxels 2 hold values other than 0"),
    "lost": (lambda folder: change_array(folder, (0,), 0, True), "supervoxels 1 are empty, but the JSON counts"),
    "axis": (
        lambda folder: change_supervoxel(folder, 2, axis=3),
        "describe supervoxels (see supervoxels > 1 >",
    ),
    "keyframe": (lambda folder: change_supervoxel(folder, 2, keyframe=15), "supervoxels 2 have a keyframe in the JSON"),
    "fewer described": (lambda folder: change_json(folder, supervoxels=[]), "lists no supervoxels, but doesn't say"),
    "no description": (lambda folder: change_json(folder, supervoxels=[{}, {}, {}]), "doesn't describe supervoxels"),
    "damaged JSON": (lambda folder: cut(folder / "case.json"), "case.json can't be read"),
    "no array": (lambda folder: (folder / "case.b2nd").unlink(), "case.b2nd"),
    "another array": (
        lambda folder: (folder / "case.b2nd").write_bytes(blosc2.asarray(np.zeros((2, 3))).to_cframe()),
        "isn't a 4D uint8 array",
    ),
}


@pytest.mark.parametrize(("damage", "text"), MENDABLE.values(), ids=MENDABLE)
def test_what_can_be_mended(folder: Path, damage: Callable[[Path], object], text: str) -> None:
    damage(folder)
    ((told, remedy),) = found_faults(folder)
    assert text in told
    assert remedy == Remedy.REWRITE
    assert "again" not in told  # which --repair does


@pytest.mark.parametrize(("damage", "text"), HOPELESS.values(), ids=HOPELESS)
def test_what_cannot_be_mended(folder: Path, damage: Callable[[Path], object], text: str) -> None:
    damage(folder)
    faults = found_faults(folder)
    assert [remedy for told, remedy in faults if text in told] == [Remedy.REMOVE]
    assert not any("again" in told for told, _ in faults)
    others = [told for told, _ in faults if text not in told]
    assert all("class locations" in told for told in others), others  # they follow from the array


def test_an_array_that_was_changed_differs_in_all_that_follows_from_it(folder: Path) -> None:
    change_array(folder, (0, 1, 2, 4), 0)
    change_array(folder, (1, 0, 0, 0), 1)
    texts = " / ".join(text for text, _ in found_faults(folder))
    for expected in ("its SHA-256 differs", "supervoxels 1, 2 have another number", "supervoxels 2 have another box"):
        assert expected.replace("another box", "another bounding box") in texts
    assert "supervoxels 1 have no class locations, or some that aren't their voxels" in texts


def test_another_shape_than_the_preprocessed_case(folder: Path) -> None:
    ((text, remedy),) = found_faults(folder, (6, 15, 10))
    assert "(3, 6, 10, 15)" in text
    assert "(6, 15, 10)" in text
    assert remedy == Remedy.REMOVE


def test_a_truncated_array(rng: np.random.Generator, supervoxels_of, tmp_path: Path) -> None:
    supervoxel_files.write_case(tmp_path, "case", supervoxels_of(rng.random((40, 50, 60)) < 0.5), {}, (16, 16, 16))
    cut(tmp_path / "case.b2nd")
    ((text, remedy),) = found_faults(tmp_path, (40, 50, 60))
    assert "damaged" in text
    assert remedy == Remedy.REMOVE


def test_files_without_a_json_are_left_alone(folder: Path) -> None:
    (folder / "case.json").unlink()
    ((text, remedy),) = found_faults(folder)
    assert "there is no JSON" in text
    assert remedy == Remedy.NONE


def test_many_supervoxels_with_the_same_fault_are_one_sentence(cuboids, supervoxels_of, tmp_path: Path) -> None:
    masks = [cuboids(((1, 2), (1, 2), (k, k + 1))) for k in range(12)]
    supervoxel_files.write_case(tmp_path, "case", supervoxels_of(*masks), {}, (4, 4, 4))
    change_locations(tmp_path, dict.clear)
    ((text, _),) = found_faults(tmp_path)
    assert text.startswith("supervoxels 1, 2, 3, 4, 5, 6, 7, 8 and 4 more have no class locations")
