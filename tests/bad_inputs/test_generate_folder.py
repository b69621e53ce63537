"""`SuperVoxel_generate`."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from bad_inputs.bad_files import (
    CANARY,
    LONG,
    SHAPE,
    Done,
    Make,
    holding,
    image,
    link,
    malicious_array,
    meta_image,
    nifti_with,
    nrrd,
    pickled_npy,
    truncated,
    with_image,
    write_image,
    zipped,
)

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".gipl", ".b2nd", ".npy", ".png", ".mgz")
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452")
WHOLE = [{".json", ".b2nd", ".pkl"}, *({".json", ending} for ending in (".gz", ".nrrd"))]
HUGE = " ".join(["1" + "0" * 21] * 3)


def axes(*rows: tuple[float, ...]) -> dict[str, object]:
    """Fields of a NIfTI's header."""
    return {"sform_code": 2, **{f"srow_{axis}": row for axis, row in zip("xyz", rows, strict=True)}}


class Row(NamedTuple):
    """An image that is made beside a good one; the words about it, and what becomes of it."""

    what: str
    make: Make
    says: str
    becomes: str = "failed"


ROWS = [
    *(
        Row(f"truncated {end}", truncated(f"bad{end}"), "copy")
        for end in (".nii.gz", ".nii", ".nrrd", ".mha", ".gipl", ".b2nd")
    ),
    *(
        Row(f"{end} cut in its header", truncated(f"bad{end}", 0.02), "copy")
        for end in (".nii.gz", ".nii", ".nrrd", ".mha", ".b2nd")
    ),
    *(Row(f"empty {end}", holding(f"bad{end}", b""), "the file is empty") for end in ENDINGS),
    *(Row(f"text as {end}", holding(f"bad{end}", b"<html>404 not found</html>"), "damaged") for end in ENDINGS),
    Row("a zip archive as .nii.gz", holding("bad.nii.gz", zipped("bad.nii", b"nothing")), "damaged"),
    Row("gzipped nothing as .nii.gz", holding("bad.nii.gz", gzip.compress(b"")), "damaged"),
    Row("a PNG's beginning", holding("bad.png", PNG), "damaged"),
    Row("objects as .npy", lambda f: (f / "bad.npy").write_bytes(pickled_npy(f.parent / CANARY)), "damaged"),
    Row("a program as .b2nd", lambda f: malicious_array(f / "bad.b2nd", f.parent / CANARY), "can't be read"),
    Row("NIfTI of no voxels", nifti_with("bad.nii", dim=[3, 0, 20, 12, 1, 1, 1, 1]), "the size is (0, 20, 12)"),
    Row("NIfTI of negative size", nifti_with("bad.nii", dim=[3, -31, 20, 12, 1, 1, 1, 1]), "damaged"),
    Row("NIfTI that claims 32767 ** 3", nifti_with("bad.nii.gz", dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]), "damaged"),
    Row("NIfTI of five dimensions", nifti_with("bad.nii", dim=[5, 31, 4, 3, 5, 4, 1, 1]), "2, 3 or 4 can be read"),
    Row("NIfTI of an unknown type", nifti_with("bad.nii", datatype=3), "damaged"),
    Row("NIfTI of which an end is missing", nifti_with("bad.nii", vox_offset=2e4), "not all of its voxels"),
    Row("NIfTI with no axes", nifti_with("bad.nii", **axes((0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0))), "no length"),
    Row(
        "NIfTI with NaN as axes",
        nifti_with("bad.nii", **axes((np.nan, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0))),
        "is no number",
    ),
    Row(
        "NIfTI with an axis of no length",
        nifti_with("bad.nii", **axes((1, 0, 0, 0), (0, 0, 0, 0), (0, 0, 1, 0))),
        "no length",
    ),
    Row("sheared NIfTI", nifti_with("bad.nii.gz", **axes((1, 0.3, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0))), "sheared"),
    Row("NRRD that claims 10 ** 63", holding("bad.nrrd", nrrd(HUGE)), "damaged"),
    Row("NRRD that claims 10 ** 12", holding("bad.nrrd", nrrd("10000 10000 10000")), "damaged"),
    Row("gzipped NRRD that claims 10 ** 12", holding("bad.nrrd", nrrd("10000 10000 10000", "gzip")), "damaged"),
    Row("NRRD of no voxels", holding("bad.nrrd", nrrd("0 20 31")), "damaged"),
    Row("MetaImage that claims 10 ** 63", holding("bad.mha", meta_image(HUGE)), "the size is"),
    Row("MetaImage that claims 10 ** 12", holding("bad.mha", meta_image("10000 10000 10000")), "damaged"),
    Row("MetaImage of no voxels", holding("bad.mha", meta_image("0 20 31")), "the size is (0, 20, 31)"),
    Row("MetaImage of negative size", holding("bad.mha", meta_image("-4 20 31")), "damaged"),
    Row("array of no voxels", with_image("bad.b2nd", np.zeros((1, 0, 20, 31), np.float32)), "(1, 0, 20, 31)"),
    Row("array of no channels", with_image("bad.b2nd", np.zeros((0, *SHAPE), np.float32)), "has 0 channel(s)"),
    Row("array of two dimensions", with_image("bad.b2nd", np.zeros(SHAPE[1:], np.float32)), "has 2 dimensions"),
    Row("array of five dimensions", with_image("bad.b2nd", np.zeros((1, 1, *SHAPE), np.float32)), "has 5 dimensions"),
    Row("array of text", with_image("bad.b2nd", np.full(SHAPE, "text")), "real numbers was expected, not of <U4"),
    Row("array of records", with_image("bad.b2nd", np.zeros(SHAPE, [("a", int)])), "real numbers was expected"),
    Row("array of times", with_image("bad.b2nd", np.zeros(SHAPE, "datetime64[s]")), "real numbers was expected"),
    Row("complex array", with_image("bad.b2nd", image(kind=np.complex64)), "not of complex64"),
    Row("complex NIfTI", with_image("bad.nii", image(kind=np.complex64)), "complex numbers; take its magnitude"),
    Row("NaN alone", with_image("bad.nrrd", np.full(SHAPE, np.nan, np.float32)), "7440 voxels are NaN", "empty"),
    Row("infinities alone", with_image("bad.b2nd", np.full(SHAPE, np.inf, np.float32)), "infinite", "empty"),
    Row("some NaN", with_image("bad.nrrd", np.where(image() % 3 == 0, np.nan, image())), "voxels are NaN", "made"),
    Row("constant", with_image("bad.mha", np.full(SHAPE, 7, np.int16)), "the image is constant", "empty"),
    Row("1e300 alone", with_image("bad.nrrd", np.full(SHAPE, 1e300)), "the image is constant", "empty"),
    Row("one voxel", with_image("bad.nii.gz", image((1, 1, 1))), "the image is constant", "empty"),
    *(
        Row(f"{shape} voxels", with_image("bad.nii.gz", image(shape)), "", "made")
        for shape in ((1, 20, 31), (12, 1, 31), (12, 20, 1), (1, 1, 31), (2, 2, 2))
    ),
    Row("colours", with_image("bad.png", image((20, 31, 3), np.uint8), True), "", "made"),
    *(
        Row(f"called {name!r}", with_image(name, image()), "", "made")
        for name in (
            "a case  of mine .nii.gz",
            "病例 ü ß 😀.nii.gz",
            "first\nsecond.nii.gz",
            "a\tb\x1b[31m.b2nd",
            "case..b2nd",
            "{0}%s%n{case}.nii.gz",
            "-d.nii.gz",
        )
    ),
    Row("called by 255 bytes", with_image(LONG[:-7] + ".nii.gz", image()), "", "made"),
    Row("called by 255 bytes that grow", with_image(LONG[:-5] + ".gipl", image()), "too long a name"),
    Row("called '..'", with_image("...nii.gz", image()), "", "passed over"),
    Row("a folder", lambda f: (f / "bad.nii.gz").mkdir(), "", "passed over"),
    Row("a link to a folder above", link("bad.nii.gz", ".."), "", "passed over"),
    Row("a link to nothing", link("bad.nii.gz", "gone.nii.gz"), "a link to a file that isn't there: gone.nii.gz"),
    Row("a link to itself", link("bad.nii.gz", "bad.nii.gz"), "a link to a file that isn't there"),
    Row("a link to a device", link("bad.nii", "/dev/zero"), "a device, not a file"),
    Row("a pipe that nobody fills", lambda f: os.mkfifo(f / "bad.nii.gz"), "a pipe or a device"),
    Row("an array that is a pipe", lambda f: os.mkfifo(f / "bad.b2nd"), "a pipe or a device"),
]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder with a sound image, and beside it a config without models that takes every format."""
    (tmp_path / "config.yaml").write_text(f"method: slic\nmasks_per_image: 4\nfile_format: [{', '.join(ENDINGS)}]\n")
    (tmp_path / "scans").mkdir()
    write_image(tmp_path / "scans" / "sound.nii.gz")
    return tmp_path / "scans"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_a_bad_image_stops_no_other(row: Row, call: Callable[..., Done], scans: Path) -> None:
    row.make(scans)
    output = scans.parent / "out"
    done = call("SuperVoxel_generate", "-i", scans, "-o", output, "-c", scans.parent / "config.yaml", "-device", "cpu")
    assert row.says in done.said
    count = {status: int(row.becomes == status) for status in ("made", "empty", "failed")}
    assert (
        f"{1 + sum(count.values())} cases: {1 + count['made']} made, 0 kept, {count['empty']} without supervoxels, "
        f"{count['failed']} failed; "
    ) in done.out
    assert done.code == count["failed"]
    assert (output / "sound.nii.gz").is_file()
    written = {path.name for path in output.iterdir() if not path.name.startswith("sound.")}
    hidden = {name for name in written if name.startswith(".")}
    assert hidden == ({".failed"} if count["failed"] else set())  # nnUNetv2_supervoxel_status tells the reason
    assert {Path(name).suffix for name in written - hidden} in {"made": WHOLE, "empty": [{".json"}]}.get(
        row.becomes, [set()]
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-i", "nowhere", "-c", "tiny"], "no folder nowhere"),
        (["-i", "config.yaml", "-c", "tiny"], "no folder config.yaml"),
        (["-i", "loop", "-o", "out", "-c", "tiny"], "no folder loop"),
        (["-i", "scans", "-o", "scans", "-c", "config.yaml"], "would replace the images"),
        (["-i", "scans", "-o", "config.yaml", "-c", "config.yaml"], "Nothing can be written to config.yaml: "),
        (["-i", "scans", "-o", "config.yaml/out", "-c", "config.yaml"], "Nothing can be written to config.yaml/out: "),
        (["-i", "scans", "-o", "loop", "-c", "config.yaml"], "Nothing can be written to loop: "),
        (["-i", "scans", "-o", LONG + "n", "-c", "config.yaml"], "too long a name for the file system"),
        (["-i", "scans", "-c", "config.yaml", "-device", "cuda:99"], "The device 'cuda:99' can't be used"),
        (["-i", "scans", "-c", "config.yaml", "-device", "gpu"], "The device 'gpu' can't be used"),
        (["-i", "scans", "-c", "config.yaml", "-cases", "x.nii.gz"], "There is no case 'x.nii.gz'"),
        (["-i", "scans", "-c", "config.yaml", "-cases", ""], "There is no case ''"),
        (["-i", "others", "-c", "config.yaml"], r"The name 'caf\udce9.nii' in others isn't UTF-8"),
        (["-i", "twice", "-c", "config.yaml"], "would have the same name in the output"),
    ],
)
def test_folders_and_devices_that_cannot_be_are_told_at_once(
    arguments: list[str], says: str, call: Callable[..., Done], scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scans.parent)
    Path("loop").symlink_to("loop")
    Path("others").mkdir()
    Path(os.fsdecode(b"others/caf\xe9.nii")).touch()
    Path("twice").mkdir()
    for name in ("a.nii", "a.nrrd"):
        Path("twice", name).touch()
    before = sorted(Path().rglob("*"))
    done = call("SuperVoxel_generate", *arguments)
    assert (done.code, done.out) == (1, "")
    [line] = done.err.splitlines()
    assert line.startswith("Error: ")
    assert says in line
    assert sorted(Path().rglob("*")) == before
