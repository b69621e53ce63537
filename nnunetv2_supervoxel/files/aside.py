"""Files that are written aside, so that they appear whole, and what killed runs left of them."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nnunetv2_supervoxel.errors import NotWritableError, UserError
from nnunetv2_supervoxel.files.owners import has_ended, this_process

# Hidden, so that nothing takes them for cases. Earlier versions put the case's name in front, and no owner behind.
_NAME = re.compile(r"\.(?:.+\.)?writing-(?P<owner>.*?)(?:-[^-]*)?")
_OLD = 2 * 24 * 3600  # seconds; nothing is written for so long
_ROOM = 1 << 20  # bytes; where there is less, nothing useful can be written
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def folder_aside(parent: Path) -> Iterator[Path]:
    """A new hidden folder for files that are then moved out of it. It is gone afterwards, with what is left in it.

    Args:
        parent: folder in which it lies.

    Raises:
        NotWritableError: there is no room in `parent`, or writing isn't allowed.
    """
    with writing_to(parent):
        aside = Path(tempfile.mkdtemp(prefix=f".writing-{this_process()}-", dir=parent))
    try:
        yield aside
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            raise _cannot_write(parent, error) from error
        _fill(aside)  # other packages don't say that it was the disk
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def file_aside(path: Path) -> Iterator[Path]:
    """Where to write a file that takes its place, `path`, when it is whole: at the end, if nothing went wrong.

    Raises:
        NotWritableError: as for `folder_aside`.
    """
    with folder_aside(path.parent) as folder:
        yield folder / path.name
        os.replace(folder / path.name, path)


def check_writable(folder: Path) -> None:
    """Try whether files can be written to a folder, before there is work that could be lost. Nothing stays of it.

    Args:
        folder: if it isn't there, one above it is tried.

    Raises:
        NotWritableError: they can't.
    """
    try:
        with folder_aside(_there(folder)) as aside:
            _fill(aside)
    except NotWritableError as error:
        raise NotWritableError(folder, error.reason) from error


def check_name(path: Path) -> None:
    """Try whether a file can have its name.

    Raises:
        UserError: it is too long for the file system.
    """
    try:
        os.lstat(_there(path.parent) / path.name)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(f"{path} would be too long a name for the file system; shorten it.") from error


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where they are missing, whatever other runs make and remove meanwhile.

    Raises:
        NotWritableError: it can't be made.
    """
    with writing_to(folder):
        while True:
            try:
                return folder.mkdir(parents=True, exist_ok=True)
            except FileExistsError as error:
                with suppress(FileNotFoundError):  # a folder that another run removed before it was looked at
                    if not stat.S_ISDIR(os.lstat(error.filename).st_mode):
                        raise


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """What the system says against writing to a folder becomes a `NotWritableError`."""
    try:
        yield
    except OSError as error:
        raise _cannot_write(folder, error) from error


def remove_leftovers(folder: Path) -> None:
    """Remove what runs that were killed left aside in a folder; nothing that a living run owns.

    Of runs on other machines it isn't known whether they live: what they wrote goes when it is two days old.
    """
    for path in folder.glob(".*"):
        match = _NAME.fullmatch(path.name)
        with suppress(OSError):  # another run may have removed it just now
            if match and (has_ended(match["owner"]) or time.time() - path.lstat().st_mtime > _OLD) and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)


def _there(folder: Path) -> Path:
    """The folder, or the first above it that is there."""
    return next(one for one in (folder, *folder.absolute().parents) if os.path.lexists(one))


def _fill(folder: Path) -> None:
    """Write a little into a folder.

    Raises:
        NotWritableError: there is no room for it.
    """
    probe = folder / "probe"
    with writing_to(folder.parent):
        probe.write_bytes(os.urandom(_ROOM))  # random, so that no file system makes it smaller
        probe.unlink()


def _cannot_write(folder: Path, error: OSError) -> NotWritableError:
    if error.errno in _NO_SPACE:
        return NotWritableError(folder, "there is no space left; make room, then give the same command again")
    return NotWritableError(folder, f"{(error.strerror or str(error)).lower()}; choose another folder, or allow it")
