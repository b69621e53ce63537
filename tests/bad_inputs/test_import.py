"""`nnUNetv2_supervoxel_import`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from bad_inputs.bad_files import (
    LONG,
    Done,
    Make,
    holding,
    image,
    link,
    nifti_with,
    truncated,
    with_image,
    write_image,
)


class Row(NamedTuple):
    """An image beside a sound one, and the words about it; empty words: it is taken."""

    what: str
    make: Make
    says: str


ROWS = [
    Row("truncated", truncated("bad.nii.gz"), "not all of its voxels are there"),
    Row("empty", holding("bad.nii.gz", b""), "the file is empty"),
    Row("text", holding("bad.nii.gz", b"<html>404</html>"), "it is damaged"),
    Row("no voxels", nifti_with("bad.nii.gz", dim=[3, 0, 20, 12, 1, 1, 1, 1]), "it is damaged"),
    Row("countless voxels", nifti_with("bad.nii.gz", dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]), "it is damaged"),
    Row("NaN as axes", nifti_with("bad.nii.gz", sform_code=2, srow_x=(np.nan, 0, 0, 0)), "is no number"),
    Row(
        "sheared",
        nifti_with("bad.nii.gz", sform_code=2, srow_x=(1, 0.3, 0, 0), srow_y=(0, 1, 0, 0), srow_z=(0, 0, 1, 0)),
        "sheared",
    ),
    Row("four dimensions", with_image("bad.nii.gz", image((2, 3, 4, 5))), "4 dimensions and 1 component"),
    Row("two dimensions", with_image("bad.nii.gz", image((20, 31))), "2 dimensions and 1 component"),
    Row("colours", with_image("bad.nii.gz", image((4, 20, 31, 3)), True), "3 dimensions and 3 component"),
    Row("one voxel thick", with_image("bad.nii.gz", image((1, 20, 31))), ""),
    Row("NaN alone", with_image("bad.nii.gz", np.full((3, 4, 5), np.nan, np.float32)), ""),
    Row("a link to nothing", link("bad.nii.gz", "gone"), "a link to a file that isn't there"),
    Row("a link to itself", link("bad.nii.gz", "bad.nii.gz"), "a link to a file that isn't there"),
    Row("a pipe", lambda f: os.mkfifo(f / "bad.nii.gz"), "a pipe or a device"),
    Row("called as nnU-Net's segmentations", with_image("sound_seg.nii.gz", image()), "end in _seg for segmentations"),
    Row("called by 255 bytes", with_image(LONG[:-7] + ".nii.gz", image()), "too long"),
    Row("called in other scripts", with_image("病例 ü.nii.gz", image()), ""),
    Row("called with a line's end", with_image("a\nb.nii.gz", image()), ""),
    Row(
        "channels of which one is missing",
        lambda f: [write_image(f / f"a_{n}.nii.gz") for n in ("0000", "0002")],
        "are channel 0, 2, but most cases",
    ),
]


@pytest.fixture
def scans(tmp_path: Path, nnunet_folders: dict[str, str]) -> Iterator[Path]:
    """A folder with two sound images."""
    (tmp_path / "scans").mkdir()
    for name in ("other", "sound"):
        write_image(tmp_path / "scans" / f"{name}.nii.gz")
    yield tmp_path / "scans"
    for path in Path(nnunet_folders["nnUNet_raw"]).glob("Dataset994*"):
        shutil.rmtree(path)


@pytest.fixture
def raw(nnunet_folders: dict[str, str]) -> Path:
    return Path(nnunet_folders["nnUNet_raw"])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_a_bad_image_stops_no_other(row: Row, call: Callable[..., Done], scans: Path, raw: Path) -> None:
    row.make(scans)
    done = call("nnUNetv2_supervoxel_import", "-i", scans, "-d", 994, "-n", "Bad")
    assert row.says in done.said
    assert done.code == int(bool(row.says))
    labels = {path.name for path in (raw / "Dataset994_Bad" / "labelsTr").iterdir()}
    images = {path.name for path in (raw / "Dataset994_Bad" / "imagesTr").iterdir()}
    assert {"other.nii.gz", "sound.nii.gz"} <= labels
    assert len(labels) == len(images) == (2 if row.says else 3)
    assert f"{len(labels)} cases, {int(bool(row.says))} failed" in done.out


@pytest.mark.parametrize(
    ("make", "arguments", "says"),
    [
        (lambda f: shutil.rmtree(f), (), "There is no folder"),
        (lambda f: [path.unlink() for path in f.iterdir()], (), "holds no file that ends with"),
        (lambda f: write_image(f / "a.nrrd"), (), "holds images with several endings"),
        (lambda f: [truncated(f"{name}.nii.gz")(f) for name in ("other", "sound")], (), "Not one case can be taken"),
        (lambda f: (f / os.fsdecode(b"caf\xe9.nii.gz")).touch(), (), "isn't UTF-8; rename the file"),
        (lambda f: None, ("-n", "../Bad"), "'../Bad' can't be a dataset's name"),
        (lambda f: None, ("-n", ""), "'' can't be a dataset's name"),
        (lambda f: None, ("-n", "a b"), "'a b' can't be a dataset's name"),
        (lambda f: None, ("-n", LONG), "too long"),
        (lambda f: None, ("-d", "0"), "-d must be a number from 1 to 999"),
        (lambda f: None, ("-d", "x"), "invalid int value"),
    ],
)
def test_nothing_is_written_of_what_cannot_be_a_dataset(
    make: Make, arguments: tuple[str, ...], says: str, call: Callable[..., Done], scans: Path, raw: Path
) -> None:
    make(scans)
    before = sorted(raw.rglob("*"))
    done = call("nnUNetv2_supervoxel_import", "-i", scans, "-d", 994, *arguments)
    assert done.code in (1, 2)
    assert says in done.err
    assert sorted(raw.rglob("*")) == before


def test_a_number_that_is_taken(call: Callable[..., Done], scans: Path, raw: Path) -> None:
    (raw / "Dataset994_Other").mkdir()
    done = call("nnUNetv2_supervoxel_import", "-i", scans, "-d", 994)
    assert done.code == 1
    assert "has the number 994 already" in done.err
    assert [path.name for path in raw.glob("*994*")] == ["Dataset994_Other"]
