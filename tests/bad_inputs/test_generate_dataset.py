"""`nnUNetv2_supervoxel_generate`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from bad_inputs.bad_files import (
    CANARY,
    LONG,
    PLANS,
    SHAPE,
    Done,
    Make,
    image,
    malicious_array,
    malicious_checkpoint,
    malicious_pickle,
    pickled_npy,
    safetensors,
    truncate,
    write_case,
    write_image,
    zipped,
)

Generate = Callable[..., Done]


class Case(NamedTuple):
    """A preprocessed case "bad" beside a sound one; the words about it, and what becomes of it."""

    what: str
    make: Make
    says: str
    becomes: str = "failed"


class Whole(NamedTuple):
    """Something that is wrong with a dataset or the command line, and the words about it."""

    what: str
    make: Make
    says: str
    arguments: tuple[object, ...] = ()


def image_that_is(change: Callable[[Path], object]) -> Make:
    """A sound case whose image file is then changed."""

    def make(folder: Path) -> None:
        write_case(folder / "cases", "bad")
        change(folder / "cases" / "bad.b2nd")

    return make


def voxels(array: np.ndarray) -> Make:
    return lambda folder: write_case(folder / "cases", "bad", array)


def named(name: str) -> Make:
    return lambda folder: write_case(folder / "cases", name)


def supervoxels_before(provenance: object) -> Make:
    """A sound case for which there are supervoxel files, and a JSON that says this."""

    def make(folder: Path) -> None:
        write_case(folder / "cases", "bad")
        (folder / "cases_supervoxels").mkdir()
        text = provenance if isinstance(provenance, str) else json.dumps(provenance)
        (folder / "cases_supervoxels" / "bad.json").write_text(text)
        for ending in (".b2nd", ".pkl"):
            (folder / "cases_supervoxels" / f"bad{ending}").write_bytes(b"")

    return make


DAMAGED = "can't be read: its image is missing or damaged; preprocess the dataset again"

CASES = [
    Case("truncated image", image_that_is(truncate), DAMAGED),
    Case("image cut in its header", image_that_is(lambda path: truncate(path, 0.02)), DAMAGED),
    Case("empty image", image_that_is(lambda path: path.write_bytes(b"")), DAMAGED),
    Case("text as image", image_that_is(lambda path: path.write_text("<html>404</html>")), DAMAGED),
    Case("zip archive as image", image_that_is(lambda path: path.write_bytes(zipped("a", b"b"))), DAMAGED),
    Case("a program as image", image_that_is(lambda p: malicious_array(p, p.parents[1] / CANARY)), DAMAGED),
    Case("image of three dimensions", image_that_is(lambda path: write_image(path, image())), "3 dimensions, not four"),
    Case(
        "image of five dimensions",
        image_that_is(lambda path: write_image(path, image()[None, None])),
        "5 dimensions, not four",
    ),
    Case(
        "image of no voxels", image_that_is(lambda path: write_image(path, np.zeros((1, 0, 20, 31)))), "(1, 0, 20, 31)"
    ),
    Case("image of no channels", image_that_is(lambda path: write_image(path, np.zeros((0, *SHAPE)))), "0 channel(s)"),
    Case("image of text", image_that_is(lambda path: write_image(path, np.full((1, *SHAPE), "a"))), "real numbers"),
    Case(
        "complex image", image_that_is(lambda path: write_image(path, np.zeros((1, *SHAPE), complex))), "real numbers"
    ),
    Case("link to nothing", image_that_is(lambda path: (path.unlink(), path.symlink_to("gone"))), DAMAGED),
    Case("NaN alone", voxels(np.full((1, *SHAPE), np.nan, np.float32)), "7440 voxels are NaN", "empty"),
    Case("some infinities", voxels(np.where(image() % 5 == 0, np.inf, image())[None]), "voxels are NaN or inf", "made"),
    Case("constant", voxels(np.full((1, *SHAPE), 3, np.float32)), "the image is constant", "empty"),
    Case("one voxel thick", voxels(image((1, 1, 20, 31))), "", "made"),
    Case("one voxel", voxels(image((1, 1, 1, 1))), "the image is constant", "empty"),
    Case(
        "malicious pickle",
        image_that_is(lambda p: p.with_suffix(".pkl").write_bytes(malicious_pickle(p.parents[1] / CANARY))),
        "",
        "made",
    ),
    Case("no pickle", image_that_is(lambda p: p.with_suffix(".pkl").unlink()), "", "made"),
    Case("labels that are missing", image_that_is(lambda p: p.with_name("bad_seg.b2nd").unlink()), "", "made"),
    *(
        Case(f"called {name!r}", named(name), "", "made")
        for name in ("bad case", "bäd 病", "bad\nline", "bad..", "bad.b2nd")
    ),
    Case("called by 250 bytes", lambda f: os.rename(image_named(f), f / "cases" / f"{LONG[:250]}.b2nd"), "", "made"),
    Case("before it '{}'", supervoxels_before("{}"), "wasn't made by generation, so it is left alone"),
    *(
        Case(f"before it {text!r}", supervoxels_before(text), "bad.json is damaged, so that nothing says how bad.b2nd")
        for text in ("", "{", "[]", "null", '"n"', '{"n": null', "\x00")
    ),
    *(
        Case(f"before it {text}", supervoxels_before(text), "", "made")
        for text in (
            {"n": 3},
            {"n": "many"},
            {"n": -1},
            {"n": 1, "supervoxels": 5},
            {"n": 1, "supervoxels": [{}]},
            {"n": 1, "supervoxels": [{"voxels": "x"}]},
        )
    ),
]


def image_named(folder: Path) -> Path:
    write_case(folder / "cases", "x")
    (folder / "cases" / "x_seg.b2nd").unlink()
    (folder / "cases" / "x.pkl").unlink()
    return folder / "cases" / "x.b2nd"


@pytest.mark.parametrize("row", CASES, ids=lambda row: row.what)
def test_a_bad_case_stops_no_other(row: Case, call: Callable[..., Done], dataset: Path, slic: Path) -> None:
    row.make(dataset)
    done = call("nnUNetv2_supervoxel_generate", "-d", 994, "-config", slic, "-device", "cpu")
    assert row.says in done.said
    count = {status: int(row.becomes == status) for status in ("made", "empty", "failed")}
    assert (
        f"3 cases: {2 + count['made']} made, 0 kept, {count['empty']} without supervoxels, {count['failed']} failed; "
    ) in done.out
    assert done.code == count["failed"]
    output = dataset / "cases_supervoxels"
    assert {path.suffix for path in output.glob("sound.*")} == {".b2nd", ".json", ".pkl"}
    hidden = {path.name for path in output.glob(".*")}
    assert hidden == ({".failed"} if count["failed"] else set())
    assert not (dataset / CANARY).exists()
    if "before it" not in row.what:
        written = {path.suffix for path in output.iterdir() if path.name.split(".")[0] not in ("other", "sound", "")}
        assert written == {"made": {".b2nd", ".json", ".pkl"}, "empty": {".json"}, "failed": set()}[row.becomes]


def plans(**changes: object) -> Make:
    """Plans whose configuration says something else; None: leaves it out."""

    def make(folder: Path) -> None:
        content = json.loads(json.dumps(PLANS))
        settings = content["configurations"]["3d_fullres"]
        settings |= changes
        content["configurations"]["3d_fullres"] = {key: value for key, value in settings.items() if value is not None}
        (folder / "nnUNetPlans.json").write_text(json.dumps(content))

    return make


def text(name: str, content: str | bytes) -> Make:
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def a_second_dataset(folder: Path) -> None:
    """Another one with the same number, which the fixture `dataset` removes."""
    folder.with_name("Dataset994_Second").mkdir()


def nothing(_: Path) -> None:
    pass


def weights(name: str, content: Callable[[Path], bytes]) -> Make:
    """A config that names a checkpoint with this content, which gets the canary's path."""

    def make(folder: Path) -> None:
        (folder / name).write_bytes(content(folder / CANARY))
        (folder / "config.yaml").write_text(f"sam1_checkpoint: {folder / name}\nsam2_checkpoint: bundled\n")

    return make


WITH_CONFIG = ("-config", "config.yaml")
UNFIT_PLANS = "nnUNetPlans.json"

WHOLE = [
    Whole("no such number", nothing, "no dataset 123", ("-d", "123")),
    Whole("no number", nothing, "no dataset liver", ("-d", "liver")),
    Whole("a name misspelt", nothing, ", did you mean 'Dataset994_Bad'?", ("-d", "Dataset994_Bat")),
    Whole("a path as dataset", nothing, "no dataset ../", ("-d", "../Dataset994_Bad")),
    Whole(
        "a path that begins well", nothing, "no dataset Dataset994_Bad/..", ("-d", "Dataset994_Bad/../Dataset994_Bad")
    ),
    Whole("a name of 300 bytes", nothing, "no dataset Dataset994_nnn", ("-d", "Dataset994_" + LONG)),
    Whole(
        "a second dataset of that number",
        a_second_dataset,
        "Several datasets have the number 994",
    ),
    Whole("no such plans", nothing, "isn't preprocessed with plans 'Plans'", ("-p", "Plans")),
    Whole("plans of 300 bytes", nothing, "isn't preprocessed with plans 'nnn", ("-p", LONG)),
    Whole("no such configuration", nothing, "no configuration '2d'", ("-c", "2d")),
    *(
        Whole(f"plans that are {content!r}", text("nnUNetPlans.json", content), UNFIT_PLANS)
        for content in (
            "",
            "{",
            "[]",
            "null",
            "\x80",
            '{"configurations": 5}',
            '{"configurations": ["3d_fullres"]}',
            '{"configurations": {"3d_fullres": 5}}',
        )
    ),
    Whole(
        "plans that are a link to themselves",
        lambda f: ((f / UNFIT_PLANS).unlink(), (f / UNFIT_PLANS).symlink_to(UNFIT_PLANS)),
        "nnUNetPlans",
    ),
    Whole("plans nested without end", text(UNFIT_PLANS, '{"configurations":' + "[" * 2_000), UNFIT_PLANS),
    *(
        Whole(f"plans without {key}", plans(**{key: None}), key)
        for key in ("architecture", "spacing", "patch_size", "data_identifier", "normalization_schemes")
    ),
    *(
        Whole(f"plans with {key} {value!r}", plans(**{key: value}), key)
        for key, value in (
            ("spacing", "small"),
            ("spacing", [1, 1]),
            ("spacing", [0, 1, 1]),
            ("spacing", [1, 1, float("nan")]),
            ("spacing", [[1], 1, 1]),
            ("patch_size", 8),
            ("patch_size", [8, -1, 8]),
            ("patch_size", ["a", 1, 1]),
            ("data_identifier", 5),
            ("data_identifier", ".."),
            ("data_identifier", "/tmp"),
            ("data_identifier", ""),
            ("normalization_schemes", []),
            ("normalization_schemes", 3),
        )
    ),
    Whole("plans that inherit from themselves", plans(inherits_from="3d_fullres"), "Circular dependency"),
    Whole("plans that inherit from nothing", plans(inherits_from="gone"), "The configuration gone does not exist"),
    Whole("not preprocessed", plans(data_identifier="gone"), "There is no folder"),
    Whole("an empty folder of cases", lambda f: [path.unlink() for path in (f / "cases").iterdir()], "cases is empty"),
    Whole("a foreign file among the cases", text("cases/notes.txt", "x"), "doesn't belong there, such as notes.txt"),
    Whole("what macOS leaves among the cases", text("cases/.DS_Store", "x"), "belong there, such as .DS_Store"),
    Whole("a link to itself", lambda f: (f / "cases" / "a.b2nd").symlink_to("a.b2nd"), "belong there, such as a.b2nd"),
    Whole("a folder of cases that is a file", plans(data_identifier="dataset.json"), "There is no folder"),
    Whole("a folder of supervoxels that is a file", text("cases_supervoxels", ""), "Nothing can be written to"),
    Whole(
        "a folder of supervoxels that leads nowhere",
        lambda f: (f / "cases_supervoxels").symlink_to("gone"),
        "Nothing can be written to",
    ),
    Whole("no such config", nothing, "There is no config file gone.yaml", ("-config", "gone.yaml")),
    Whole("a folder as config", nothing, "There is no config file cases", ("-config", "cases")),
    *(
        Whole(f"config {content[:30]!r}", text("config.yaml", content), says, WITH_CONFIG)
        for content, says in (
            (b"\xff\xfe\x00", "not valid YAML"),
            (b"a: [", "not valid YAML"),
            (b"- method", "must hold 'key: value' lines, but holds a list"),
            (b"slic", "must hold 'key: value' lines, but holds a str"),
            (b"metod: slic", "unknown key 'metod', did you mean 'method'"),
            (b"5: 1", "unknown key '5'"),
            (b"method: slik", "'method' is 'slik'"),
            (b"masks_per_image: many", "'masks_per_image' is 'many'"),
            (b"masks_per_image: -1", "'masks_per_image' is -1"),
            (b"pred_iou_thresh: .nan", "'pred_iou_thresh' is nan"),
            (b"axis: [0, 0]", "every axis can be listed once"),
            (b"channel: 7", "channel 7 of the config doesn't exist"),
            (b"windows: [0, 400]", "'windows' of the config are in the images' own units"),
            (b"!!python/object/apply:os.mkdir [canary-that-must-not-hatch]", "not valid YAML"),
            (b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]", "unknown keys"),
            (b"seed: 1" + b"0" * 5000, "not valid YAML"),
            (b"sam1_checkpoint: gone.pth", "there is no file gone.pth"),
            (b"{}", "nnUNetv2_supervoxel_download_checkpoints"),
        )
    ),
    Whole("config nested without end", text("config.yaml", "[" * 1_000), "config.yaml", WITH_CONFIG),
    *(
        Whole(f"weights: {what}", weights(name, content), says, WITH_CONFIG)
        for what, name, content, says in (
            ("malicious .pth", "w.pth", malicious_checkpoint, "can run any code, so it was not loaded"),
            ("malicious pickle", "w.pth", malicious_pickle, "w.pth"),
            ("malicious pickle as .safetensors", "w.safetensors", malicious_pickle, "w.safetensors"),
            ("an empty file", "w.pth", lambda _: b"", "w.pth"),
            ("text", "w.pth", lambda _: b"<html>404 not found</html>", "w.pth"),
            ("a zip archive", "w.pth", lambda _: zipped("a", b"b"), "w.pth"),
            ("an array of objects", "w.npy", pickled_npy, "w.npy"),
            ("safetensors cut in the header", "w.safetensors", lambda _: safetensors(b'{"a":', 10**6), "w.safetensors"),
            (
                "safetensors that claim 2 ** 63 bytes of header",
                "w.safetensors",
                lambda _: safetensors(b"{}", 2**63),
                "w.safetensors",
            ),
            ("safetensors without tensors", "w.safetensors", lambda _: safetensors(b"{}"), "holds no model weights"),
            (
                "safetensors that claim 10 ** 63 numbers",
                "w.safetensors",
                lambda _: safetensors(
                    json.dumps({"a": {"dtype": "F32", "shape": [10**21] * 3, "data_offsets": [0, 4]}}).encode()
                ),
                "w.safetensors",
            ),
        )
    ),
    Whole("report into a folder", nothing, "is a folder", ("--report", "cases")),
    Whole("log into no folder", nothing, "there is no folder gone", ("--json-log", "gone/log")),
    Whole("case that isn't there", nothing, "There is no case 'gone'", ("-cases", "gone")),
    Whole("cases of two datasets", nothing, "-cases goes with a single dataset", ("-d", "994", "4", "-cases", "sound")),
    Whole("device that isn't there", nothing, "The device 'cuda:7' can't be used", ("-device", "cuda:7")),
]


@pytest.mark.parametrize("row", WHOLE, ids=lambda row: row.what)
def test_what_spoils_a_dataset_is_told_in_a_line_before_anything_is_written(
    row: Whole, call: Callable[..., Done], dataset: Path, slic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row.make(dataset)
    monkeypatch.chdir(dataset)
    monkeypatch.setenv("nnUNet_supervoxel_checkpoints", str(dataset))
    before = sorted(dataset.rglob("*"))
    done = call("nnUNetv2_supervoxel_generate", "-d", 994, "-config", slic, *row.arguments)
    lines = [line for line in done.err.splitlines() if line.startswith("Error: ") or "error: " in line]
    assert len(lines) == 1
    assert row.says in lines[0]
    assert (done.code, done.out) in ((1, ""), (2, ""))
    assert sorted(dataset.rglob("*")) == before
