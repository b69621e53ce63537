"""From templates to pages."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.pages import rendering
from nnunetv2_supervoxel.pages.rendering import NIIVUE, check_page, shown, write_page


def test_numbers_as_text() -> None:
    assert shown(0.126) == "0.13"
    assert shown(1234.5, ",.0f") == "1,234"
    assert shown(math.nan) == "-"
    assert shown(None, ".0%") == "-"


def test_scripts_cannot_end_their_element(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.js").write_text('const end = "</script>";')
    monkeypatch.setattr(rendering, "_HERE", tmp_path)
    assert rendering._inlined("a.js") == 'const end = "<\\/script>";'


def test_niivue_is_the_pinned_file_and_holds_nothing_that_html_would_take() -> None:
    from hashlib import sha256

    niivue = rendering._HERE / NIIVUE
    (digest,) = re.findall(r"SHA-256: ([0-9a-f]{64})", (niivue.parent / "README.md").read_text())
    assert sha256(niivue.read_bytes()).hexdigest() == digest
    assert "<!--" not in niivue.read_text()  # after it, "<script" would hide the element's end
    assert "BSD 2-Clause License" in (niivue.parent / "LICENSES.txt").read_text()


@pytest.mark.parametrize(("name", "words"), [("a.txt", "doesn't end with .html"), ("folder.html", "is a folder")])
def test_paths_that_cannot_be_pages(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(UserError, match=words):
        check_page(tmp_path / name)


def test_nothing_is_written_if_a_value_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="undefined"):
        write_page(tmp_path / "new" / "page.html", "dataset.html", {})
    assert list((tmp_path / "new").iterdir()) == []
