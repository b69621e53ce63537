"""Files appear whole, and what killed runs left of them goes."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from nnunetv2_supervoxel.errors import NotWritableError, UserError
from nnunetv2_supervoxel.files.aside import (
    check_name,
    check_writable,
    file_aside,
    folder_aside,
    make_folder,
    remove_leftovers,
)

HOLDS_ON = """
import sys, time
from pathlib import Path
from nnunetv2_supervoxel.files.aside import folder_aside
with folder_aside(Path(sys.argv[1])) as folder:
    (folder / "half.b2nd").write_bytes(b"half")
    print(folder.name, flush=True)
    time.sleep(60)
"""


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"before")

    def write_half() -> None:
        with file_aside(path) as aside:
            aside.write_bytes(b"ha")
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        write_half()
    assert path.read_bytes() == b"before"
    with file_aside(path) as aside:
        assert aside.name.endswith(".nii.gz")  # from which some writers take the format
        aside.write_bytes(b"new")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.nii.gz"]


def test_a_folder_is_made_while_others_make_and_remove_it(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"

    def make_and_remove(_: int) -> None:
        make_folder(folder)
        with suppress(OSError):
            folder.rmdir()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make_and_remove, range(4000)))
    make_folder(folder)
    assert folder.is_dir()


@pytest.mark.parametrize("below", [".", "c"])
@pytest.mark.parametrize("kind", ["a file", "a link to nothing"])
def test_what_is_in_a_folders_way_is_told(tmp_path: Path, kind: str, below: str) -> None:
    in_the_way = tmp_path / "b"
    in_the_way.touch() if kind == "a file" else in_the_way.symlink_to(tmp_path / "nothing")
    with pytest.raises(NotWritableError, match="Nothing can be written to"):
        make_folder(in_the_way / below)


def test_only_what_no_living_run_owns_is_removed(tmp_path: Path) -> None:
    run = subprocess.Popen([sys.executable, "-c", HOLDS_ON, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    name = run.stdout.readline().strip()
    elsewhere = tmp_path / ".writing-not-this-host.4026531836.17.1700000000-abcdefgh"
    earlier = tmp_path / ".case.writing-abcdefgh"  # as earlier versions called it
    for folder in (elsewhere, earlier, tmp_path / ".mine"):
        folder.mkdir()
    (tmp_path / ".notes.writing-down").write_text("a user's")
    try:
        remove_leftovers(tmp_path)
        assert sorted(os.listdir(tmp_path)) == sorted(
            [name, elsewhere.name, earlier.name, ".mine", ".notes.writing-down"]
        )
    finally:
        run.kill()
        run.wait()
    remove_leftovers(tmp_path)
    assert not (tmp_path / name).exists()
    assert elsewhere.exists()
    long_ago = time.time() - 3 * 24 * 3600
    for path in tmp_path.iterdir():
        os.utime(path, (long_ago, long_ago))
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".mine", ".notes.writing-down"]
    remove_leftovers(tmp_path / "nowhere")


@pytest.mark.parametrize("folder", ["/proc/supervoxels/deep", "a_file/below", "a_file"])
def test_a_folder_that_cant_be_written_to_is_told_in_one_sentence(folder: str, tmp_path: Path) -> None:
    (tmp_path / "a_file").write_text("no folder")
    for function in (check_writable, make_folder):
        with pytest.raises(NotWritableError) as told:
            function(tmp_path / folder)
        assert str(told.value).startswith(f"Nothing can be written to {tmp_path / folder}: ")
        assert str(told.value).endswith("; choose another folder, or allow it.")
        assert str(pickle.loads(pickle.dumps(told.value))) == str(told.value)  # as it comes from another process
    assert os.listdir(tmp_path) == ["a_file"]


def test_trying_a_folder_leaves_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path)
    check_writable(tmp_path / "not" / "there" / "yet")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_told_whatever_a_package_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def write(error: Exception) -> None:
        with folder_aside(tmp_path):
            raise error

    trouble = RuntimeError("[nrrd] nrrdWrite: trouble")
    no_space = f"Nothing can be written to {tmp_path}: there is no space left; make room, then give"
    with pytest.raises(NotWritableError, match=no_space):
        write(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(RuntimeError, match="nrrdWrite: trouble"):  # there is room
        write(trouble)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(NotWritableError, match=no_space):
        write(trouble)
    assert os.listdir(tmp_path) == []


def test_names_that_are_too_long_are_told(tmp_path: Path) -> None:
    check_name(tmp_path / ("a" * 250 + ".json"))
    for folder in (tmp_path, tmp_path / "not there yet"):
        with pytest.raises(UserError, match="would be too long a name for the file system; shorten it"):
            check_name(folder / ("a" * 251 + ".json"))
