"""Claims: which run is doing a case, so that many runs on one folder do each case once.

A claim is a file ``.running/CASE`` beside the supervoxels. It is created exclusively, which is atomic on NFS, too,
where locks may not work. Its owner touches it again and again. It is void if its owner is known to have ended, or
wasn't heard of for a while. Then one other run takes it over, and counts how many have died while they did the case.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nnunetv2_supervoxel.errors import NotWritableError
from nnunetv2_supervoxel.files.aside import make_folder, writing_to
from nnunetv2_supervoxel.files.owners import has_ended, this_process

CLAIMS = ".running"
CLAIM_TIMEOUT = 300.0  # seconds
_TOUCHES = 10  # within the timeout, and within that of whoever has set none


@dataclass(frozen=True)
class Claim:
    """What a claim's file says.

    Attributes:
        owner: see `owners.this_process`; empty while the file is being written.
        since: when the case was begun, Unix time.
        run_began: when the owner's run began, Unix time.
        deaths: how many runs before the owner's died, one after the other, while they did the case.
    """

    owner: str = ""
    since: float = 0.0
    run_began: float = 0.0
    deaths: int = 0


@contextmanager
def claimed(folder: Path, case: str, run_began: float = 0.0, timeout: float = CLAIM_TIMEOUT) -> Iterator[Claim | None]:
    """Claim a case. Gives the claim; None if another living run has claimed it. It is released afterwards.

    Args:
        folder: of the supervoxels, made if missing.
        case: identifier.
        run_began: Unix time, for those who look at the claim.
        timeout: seconds without a sign of life after which another run's claim is void.

    Raises:
        NotWritableError: no claim can be written.
    """
    path = folder / CLAIMS / case
    mine = _claim(path, Claim(this_process(), time.time(), run_began), timeout)
    if mine is None:
        yield None
        return
    released = threading.Event()
    interval = min(timeout, CLAIM_TIMEOUT) / _TOUCHES
    threading.Thread(target=_keep_alive, args=(path, interval, released), daemon=True).start()
    try:
        yield mine
    finally:
        released.set()
        if _read(path) == mine:  # another run may have taken it over from a process that was stopped for long
            path.unlink(missing_ok=True)
        with suppress(OSError):  # other cases are claimed
            path.parent.rmdir()


def is_claimed(folder: Path, case: str, timeout: float = CLAIM_TIMEOUT) -> bool:
    """Whether a living run does the case now."""
    path = folder / CLAIMS / case
    claim = _read(path)
    return claim is not None and not _is_void(path, claim, timeout)


def living_claims(folder: Path, timeout: float = CLAIM_TIMEOUT) -> dict[str, Claim]:
    """The claims of living runs, by case."""
    paths = sorted(path for path in (folder / CLAIMS).glob("*") if not path.name.startswith("."))
    claims = {path: claim for path in paths if (claim := _read(path))}
    return {path.name: claim for path, claim in claims.items() if not _is_void(path, claim, timeout)}


def remove_claim(folder: Path, case: str) -> None:
    """Remove the claim of a process that is known to have ended, wherever it ran."""
    path = folder / CLAIMS / case
    path.unlink(missing_ok=True)
    with suppress(OSError):  # there is none, or other cases are claimed
        path.parent.rmdir()


def remove_void_claims(
    folder: Path, timeout: float = CLAIM_TIMEOUT, is_over: Callable[[str], bool] = lambda _: True
) -> None:
    """Remove the claims that runs left when they were killed.

    Args:
        folder: of the supervoxels.
        timeout: see `claimed`.
        is_over: whether nobody is to take over a case's claim, and nobody needs to know how many died.
    """
    mine = Claim(this_process(), time.time())
    for path in (folder / CLAIMS).glob("*"):
        if path.name.startswith("."):
            _remove_if_void(path, timeout)
            continue
        claim = _read(path)
        if claim and _is_void(path, claim, timeout) and is_over(path.name) and _take_over(path, claim, mine, timeout):
            path.unlink()
    with suppress(OSError):  # there is none, or it is in use
        (folder / CLAIMS).rmdir()


def folder_clock(folder: Path) -> float:
    """Unix time by the clock that dates the folder's files, which may be another machine's.

    Raises:
        NotWritableError: nothing can be written there.
    """
    with writing_to(folder), tempfile.NamedTemporaryFile(prefix=".now-", dir=folder) as file:
        return os.stat(file.name).st_mtime


def _claim(path: Path, mine: Claim, timeout: float) -> Claim | None:
    """The claim as it was written; None if another living run has one."""
    if _create(path, mine):
        return mine
    there = _read(path)
    if there is None:  # it was released just now
        return mine if _create(path, mine) else None
    if not _is_void(path, there, timeout):
        return None
    mine = replace(mine, deaths=there.deaths + 1)
    return mine if _take_over(path, there, mine, timeout) else None


def _create(path: Path, claim: Claim) -> bool:
    """Whether there was no claim yet."""
    with writing_to(path.parents[1]):
        while True:
            make_folder(path.parent)
            try:
                file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileNotFoundError:  # another run has just removed the empty folder
                continue
            except FileExistsError:
                return False
            with os.fdopen(file, "w") as opened:
                json.dump(asdict(claim), opened)
            return True


def _read(path: Path) -> Claim | None:
    """The claim; None if there is none."""
    try:
        return Claim(**json.loads(path.read_text()))
    except OSError:
        return None
    except (ValueError, TypeError):
        return Claim()


def _is_void(path: Path, claim: Claim, timeout: float) -> bool:
    if has_ended(claim.owner):
        return True
    try:
        touched = path.stat().st_mtime
    except OSError:  # it was released just now
        return True
    try:
        now = folder_clock(path.parent)
    except NotWritableError:  # somebody only looks
        now = time.time()
    return now - touched > timeout


def _take_over(path: Path, void: Claim, mine: Claim, timeout: float) -> bool:
    """Put a claim in the place of a void one, unless another run does so, too.

    The claim is created beside it first. Nobody else can do that until it is moved, so that of many runs that find the
    same void claim one gets the case.
    """
    beside = path.with_name(f".{path.name[:60]}")  # names have at most 255 bytes
    if not _create(beside, mine):
        _remove_if_void(beside, timeout)  # of a run that was killed right here
        return False
    with suppress(FileNotFoundError):  # taken for a dead run's
        if _read(path) == void:
            os.replace(beside, path)
            return True
        beside.unlink()
    return False


def _remove_if_void(beside: Path, timeout: float) -> None:
    claim = _read(beside)
    if claim is not None and _is_void(beside, claim, timeout) and _read(beside) == claim:
        beside.unlink(missing_ok=True)


def _keep_alive(path: Path, interval: float, released: threading.Event) -> None:
    while not released.wait(interval):
        with suppress(OSError):
            os.utime(path)
