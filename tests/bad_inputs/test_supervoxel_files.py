"""Supervoxel files: `nnUNetv2_supervoxel_verify`, `_evaluate`, `_to_nifti`, and `SuperVoxel_save_fg_location`."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import blosc2
import numpy as np
import pytest
from bad_inputs.bad_files import (
    CANARY,
    SHAPE,
    Done,
    Make,
    malicious_array,
    malicious_pickle,
    truncate,
    write_case,
    zipped,
)

from nnunetv2_supervoxel import SupervoxelSet
from nnunetv2_supervoxel.files import supervoxel_files


class Row(NamedTuple):
    """What is wrong with the files of the case "bad", what verify says, and whether evaluate and to_nifti fail."""

    what: str
    make: Make
    says: str
    fails: bool = True


def of_array(change: Callable[[Path], object]) -> Make:
    return lambda folder: change(folder / "bad.b2nd")


def array(values: np.ndarray) -> Make:
    return of_array(lambda path: blosc2.asarray(values, urlpath=str(path), mode="w", chunks=(1, *values.shape[1:])))


def text(name: str, content: bytes) -> Make:
    return lambda folder: (folder / name).write_bytes(content)


def said(**changes: object) -> Make:
    """A JSON that says something else; LEFT_OUT: doesn't say it."""

    def make(folder: Path) -> None:
        content = json.loads((folder / "bad.json").read_text()) | changes
        (folder / "bad.json").write_text(
            json.dumps({key: value for key, value in content.items() if value != LEFT_OUT})
        )

    return make


def said_of_one(**changes: object) -> Make:
    """The same of the second supervoxel."""

    def make(folder: Path) -> None:
        content = json.loads((folder / "bad.json").read_text())
        one = content["supervoxels"][1] | changes
        content["supervoxels"][1] = {key: value for key, value in one.items() if value != LEFT_OUT}
        (folder / "bad.json").write_text(json.dumps(content))

    return make


def locations(content: Any) -> Make:
    return text("bad.pkl", pickle.dumps(content))


LEFT_OUT = "left out"
WHOLE = (4, *SHAPE)
UNOPENED = "can't be opened: it is missing or damaged"
NO_ROWS = "bad.pkl can't be read as class locations"
NO_JSON = "bad.json can't be read: it is missing or damaged"

ROWS = [
    Row("truncated array", of_array(truncate), UNOPENED),
    Row("array cut at its end", of_array(lambda path: truncate(path, 0.9)), UNOPENED),
    Row("empty array", of_array(lambda path: path.write_bytes(b"")), UNOPENED),
    Row("text as array", of_array(lambda path: path.write_text("<html>404</html>")), UNOPENED),
    Row("zip archive as array", of_array(lambda path: path.write_bytes(zipped("a", b"b"))), UNOPENED),
    Row("a program as array", of_array(lambda p: malicious_array(p, p.parents[1] / CANARY)), UNOPENED),
    Row("no array", of_array(lambda path: path.unlink()), UNOPENED),
    Row("array that is a link to nothing", of_array(lambda p: (p.unlink(), p.symlink_to("gone"))), UNOPENED),
    Row("array of 16 bits", array(np.ones(WHOLE, np.int16)), "isn't a 4D uint8 array"),
    Row("array of three dimensions", array(np.ones(SHAPE, np.uint8)), "isn't a 4D uint8 array"),
    Row("array of one supervoxel less", array(np.ones((3, *SHAPE), np.uint8)), "has shape (3, 12, 20, 31)"),
    Row("array of no supervoxel", array(np.ones((0, *SHAPE), np.uint8)), "has shape (0, 12, 20, 31)"),
    Row("array of another case", array(np.ones((4, 12, 20, 30), np.uint8)), "has shape (4, 12, 20, 30)"),
    Row("values of 7", array(np.full(WHOLE, 7, np.uint8)), "hold values other than 0 and 1", False),
    Row("nothing but zeros", array(np.zeros(WHOLE, np.uint8)), "are empty, but the JSON counts voxels", False),
    *(
        Row(f"JSON {text_[:20]!r}", text("bad.json", text_), NO_JSON)
        for text_ in (b"", b"{", b"\x80", b"<html>", b"[]", b"null", b"5", b"[" * 2000)
    ),
    *(
        Row(f"JSON {text_[:20]!r}", text("bad.json", text_), "doesn't describe supervoxels")
        for text_ in (b"{}", b'{"n": 4}')
    ),
    Row("JSON without list", said(supervoxels=LEFT_OUT), "doesn't describe supervoxels"),
    Row("JSON with a list of numbers", said(supervoxels=[1, 2, 3, 4]), "doesn't describe supervoxels"),
    Row("JSON with an empty list", said(supervoxels=[]), "the JSON lists no supervoxels, but doesn't say", False),
    Row("JSON of 0", said(n=0, supervoxels=[]), "there are masks or class locations, but the JSON says", False),
    Row("JSON of 5", said(n=5), "the array holds 4 supervoxels, the JSON says 5", False),
    Row("JSON of many", said(n="many"), "the JSON says many", False),
    Row("JSON of another shape", said(shape=[1, 2]), "the JSON says that the case has shape [1, 2]", False),
    Row("JSON of another digest", said(array_sha256="0"), "its SHA-256 differs", False),
    Row("JSON without axis", said_of_one(axis=LEFT_OUT), "doesn't describe supervoxels"),
    Row("JSON with axis 3", said_of_one(axis=3), "doesn't describe supervoxels"),
    Row("JSON with axis 'z'", said_of_one(axis="z"), "doesn't describe supervoxels"),
    Row("JSON with axis [0]", said_of_one(axis=[0]), "doesn't describe supervoxels"),
    Row("JSON with keyframe 99", said_of_one(keyframe=99), "supervoxels 2 have a keyframe", False),
    Row("JSON with keyframe [0]", said_of_one(keyframe=[0]), "doesn't describe supervoxels"),
    Row("JSON with a score in words", said_of_one(predicted_iou="high"), "(see supervoxels > 1 > predicted_iou)"),
    Row("JSON with a spacing in words", said(spacing="small"), "doesn't describe supervoxels"),
    Row("JSON with notes that are a number", said(notes=5), "doesn't describe supervoxels"),
    Row("JSON with another box", said_of_one(bounding_box="none"), "supervoxels 2 have another bounding box", False),
    Row("JSON with another count", said_of_one(voxels=-1), "supervoxels 2 have another number of voxels", False),
    Row("JSON with a channel in words", said(config={"channel": "first"}), "doesn't describe supervoxels"),
    Row(
        "malicious pickle",
        lambda f: (f / "bad.pkl").write_bytes(malicious_pickle(f.parent / CANARY)),
        "it asks for posix.mkdir",
        False,
    ),
    *(Row(f"pickle {text_!r}", text("bad.pkl", text_), NO_ROWS, False) for text_ in (b"", b"\x80\x04", b"text")),
    Row("no pickle", lambda f: (f / "bad.pkl").unlink(), NO_ROWS, False),
    Row("pickle of a number", locations(5), NO_ROWS, False),
    Row("pickle without locations", locations({"spacing": 1}), NO_ROWS, False),
    Row("pickle of fractions", locations({"class_locations": {1: np.ones((3, 4))}}), NO_ROWS, False),
    Row("pickle of names", locations({"class_locations": {"liver": np.ones((3, 4), int)}}), NO_ROWS, False),
    Row("pickle of rows of five", locations({"class_locations": {1: np.ones((3, 5), int)}}), NO_ROWS, False),
    Row(
        "pickle of some",
        locations({"class_locations": {1: np.zeros((1, 4), int)}}),
        "supervoxels 1, 2, 3, 4 have no class locations",
        False,
    ),
    Row(
        "pickle of places outside",
        locations({"class_locations": {1: np.full((1, 4), 10**9)}}),
        "have no class locations, or some that aren't",
        False,
    ),
    Row(
        "pickle of too many",
        locations({"class_locations": {9: np.zeros((1, 4), int)}}),
        "of supervoxels 9, which don't exist",
        False,
    ),
]


@pytest.fixture
def folder(dataset: Path) -> Path:
    """The supervoxels of Dataset994_Bad's cases "bad" and "sound"; "other" has none."""
    write_case(dataset / "cases", "bad")
    for case in ("bad", "sound"):
        write_supervoxels(dataset / "cases_supervoxels", case)
    return dataset / "cases_supervoxels"


def write_supervoxels(folder: Path, case: str) -> None:
    labels = np.zeros(SHAPE, int)
    labels[2:10, 3:18, 2:29] = np.kron(np.arange(1, 5).reshape(1, 2, 2), np.ones((8, 8, 14), int))[:, :15, :27]
    scores = {"predicted_iou": 0.9, "stability_score": 0.8}
    supervoxel_files.write_case(folder, case, SupervoxelSet.of_labels(labels), {"case": case, **scores}, (8, 16, 16))


def contents(folder: Path, but: str = "nothing") -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() if path.is_file() else b""
        for path in folder.iterdir()
        if not path.name.startswith(but)
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_verify_lists_it_and_repair_leaves_what_is_sound(row: Row, call: Callable[..., Done], folder: Path) -> None:
    row.make(folder)
    before = contents(folder)
    done = call("nnUNetv2_supervoxel_verify", "-d", 994)
    assert done.code == 1
    assert "2 cases: 1 sound, 0 repaired, 0 removed, 1 wrong" in done.out
    assert row.says in done.err
    assert contents(folder) == before
    mended = call("nnUNetv2_supervoxel_verify", "-d", 994, "--repair")
    assert ("1 sound, 1 repaired, 0 removed" in mended.out) != ("1 sound, 0 repaired, 1 removed" in mended.out)
    assert contents(folder, but="bad") == {name: content for name, content in before.items() if name[:3] != "bad"}
    again = call("nnUNetv2_supervoxel_verify", "-d", 994)
    assert (again.code, again.err.count("wrong")) == (0, 0)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_evaluate_and_to_nifti_do_the_other_case(
    row: Row, call: Callable[..., Done], folder: Path, tmp_path: Path
) -> None:
    row.make(folder)
    before = contents(folder)
    evaluated = call("nnUNetv2_supervoxel_evaluate", "-d", 994, "-np", 1, "-o", tmp_path / "figures")
    written = call("nnUNetv2_supervoxel_to_nifti", "-d", 994, "-o", tmp_path / "images")
    assert contents(folder) == before
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"cases.csv", "structures.csv", "summary.json"}
    assert [path.name for path in (tmp_path / "images").iterdir() if "sound" in path.name] == ["sound.nii.gz"]
    assert not list((tmp_path / "images").glob(".*"))
    assert f"{1 if row.fails else 2} of 2 cases evaluated" in evaluated.out
    assert (evaluated.code, written.code) == (int(row.fails),) * 2
    assert f"{int(row.fails)} failed" in written.out


def test_locations_are_written_of_every_array_that_can_be_read(call: Callable[..., Done], folder: Path) -> None:
    """Of all rows at once, because processes take seconds to start."""
    arrays = {}
    for number, row in enumerate(row for row in ROWS if "array" in row.what):
        row.make(folder)
        if os.path.lexists(folder / "bad.b2nd"):
            os.rename(folder / "bad.b2nd", folder / f"bad{number}.b2nd")
            arrays[f"bad{number}"] = row
        write_supervoxels(folder, "bad")
    (folder / "sound.pkl").unlink()
    done = call("SuperVoxel_save_fg_location", "-supervoxel_folder", folder, "-np", 1)
    assert done.code == 1
    assert (folder / "sound.pkl").is_file()
    for case, row in arrays.items():
        assert (f"{case} failed" in done.err) == (not (folder / f"{case}.pkl").exists()), row.what
