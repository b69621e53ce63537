"""Why cases have no supervoxels yet: a file ``.failed/CASE`` beside the supervoxels, until the case is done."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files.aside import check_name, file_aside, make_folder

FAILURES = ".failed"


def note_failure(folder: Path, case: str, reason: str) -> None:
    """Note why a case failed.

    Args:
        folder: of the supervoxels, made if missing.
        case: identifier.
        reason: a sentence.

    Raises:
        NotWritableError: it can't be written.
    """
    try:
        check_name(folder / FAILURES / case)
    except UserError:  # which is why the case failed
        return
    make_folder(folder / FAILURES)
    with file_aside(folder / FAILURES / case) as aside:
        aside.write_text(reason + "\n")


def forget_failure(folder: Path, case: str) -> None:
    """The case is done."""
    with suppress(OSError):  # it hadn't failed; or others have, too; or the folder is somebody else's
        (folder / FAILURES / case).unlink(missing_ok=True)
        (folder / FAILURES).rmdir()


def failure_since(folder: Path, case: str, since: float) -> str | None:
    """Why a case failed, if it did after `since` (Unix time by the folder's clock)."""
    path = folder / FAILURES / case
    try:
        return path.read_text().strip() if path.stat().st_mtime > since else None
    except OSError:
        return None


def failures(folder: Path) -> dict[str, str]:
    """Reasons by case."""
    names = sorted(path.name for path in (folder / FAILURES).glob("*") if not path.name.startswith("."))
    reasons = {name: failure_since(folder, name, 0) for name in names}
    return {name: reason for name, reason in reasons.items() if reason is not None}
