"""`SuperVoxel_save_fg_location`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Contents = Callable[..., dict[str, bytes]]


def test_save_fg_location_writes_what_generation_wrote(contents: Contents, generated: Path, run: Callable) -> None:
    before = contents(generated)
    for path in generated.glob("*.pkl"):
        path.unlink()
    done = run("SuperVoxel_save_fg_location", "-supervoxel_folder", generated, "-np", 2)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 cases have class locations now." in done.stdout
    assert contents(generated) == before


def test_save_fg_location_reports_damaged_arrays(tmp_path: Path, run: Callable) -> None:
    (tmp_path / "bad.b2nd").write_bytes(b"bad")
    done = run("SuperVoxel_save_fg_location", "-supervoxel_folder", tmp_path)
    assert done.returncode == 1
    assert "bad failed" in done.stderr
    assert "0 of 1 cases" in done.stdout
