"""The page as a file: what is on it, and that it needs nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.pages.dataset_page import cases_to_view, write_dataset_page
from nnunetv2_supervoxel.pages.entries import Entry
from nnunetv2_supervoxel.quality.figures import CaseFigures
from nnunetv2_supervoxel.quality.inputs import EvaluatedDataset, find_dataset

ODD_NAME = "x<i>&\"y' z"


class Page(HTMLParser):
    """Rows of the table of cases, options of the viewer, addresses, and text.

    Attributes:
        rows: by case, the findings' keys.
        viewed: names of cases.
        addresses: of links, pictures and scripts.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.rows: dict[str, list[str]] = {}
        self.viewed: list[str] = []
        self.addresses: list[str] = []
        self._selecting = ""
        self.text = path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag: str, pairs: list) -> None:
        attributes = dict(pairs)
        self.addresses += [attributes[name] for name in ("src", "href") if name in attributes]
        if tag == "tr" and "data-findings" in attributes:
            self.rows[attributes["id"].removeprefix("case-")] = attributes["data-findings"].split()
        if tag == "select":
            self._selecting = attributes["id"]

    def handle_data(self, data: str) -> None:
        if self.lasttag == "option" and self._selecting == "viewer-case" and data.strip():
            self.viewed.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, dataset: EvaluatedDataset) -> Page:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_dataset_page(dataset, path)
    return Page(path)


def test_every_case_is_on_it_with_what_is_odd_about_it(page: Page) -> None:
    assert page.rows == {
        "a1": [],
        "a2": ["notes"],
        "a3": [],
        "a4": [],
        "a5": [],
        "damaged": ["failed"],
        "empty": ["empty"],
        "few": ["few"],
        "missing": ["missing"],
        "other": ["settings"],
        ODD_NAME: [],
    }
    (row,) = re.findall(r'<tr id="case-damaged".*?</tr>', page.text, re.DOTALL)
    assert '</b> <span class="quiet">damaged.b2nd ' in row  # its folder stands in the page's head
    assert "Other settings than most cases: keyframes." in page.text
    assert "a" * 64 in page.text  # the checkpoint's digest
    assert "<i>" not in page.text.split("<script>")[0]


def test_the_viewer_has_the_first_three_and_the_three_oddest(page: Page) -> None:
    assert page.viewed[:3] == ["a1", "a2", "a3"]
    assert "few" in page.viewed[3:]
    assert len(set(page.viewed)) == 6
    assert not {"empty", "damaged", "missing"} & set(page.viewed)


def test_it_carries_niivue_s_licences(page: Page) -> None:
    assert "BSD 2-Clause License" in page.text
    assert "&lt;luke.edwards05@gmail.com&gt;" in page.text


def test_it_needs_no_other_file(page: Page) -> None:
    assert {address.split(":")[0] for address in page.addresses if not address.startswith("#")} == {"data"}
    assert not re.findall(r"@import|url\(", page.text.split("</style>")[0])


def test_the_same_dataset_gives_the_same_page(tmp_path: Path, dataset: EvaluatedDataset) -> None:
    for name in ("one.html", "other.html"):
        write_dataset_page(dataset, tmp_path / name, view=["a1"])
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "other.html").read_bytes()


def test_without_a_viewer_niivue_stays_away(tmp_path: Path, dataset: EvaluatedDataset) -> None:
    write_dataset_page(dataset, tmp_path / "page.html", view=[])
    page = Page(tmp_path / "page.html")
    assert page.viewed == []
    assert len(page.text) < 200_000


def test_a_damaged_case_in_the_viewer_says_why(tmp_path: Path, dataset: EvaluatedDataset) -> None:
    write_dataset_page(dataset, tmp_path / "page.html", view=["damaged", "a1", "damaged"])
    page = Page(tmp_path / "page.html")
    assert page.viewed == ["damaged", "a1"]
    assert re.search(r'"error": "[^"]*damaged', page.text)


def test_a_failed_page_leaves_the_old_one(tmp_path: Path, folder: Path) -> None:
    dataset = find_dataset(985, "nnUNetPlans", "3d_fullres", None)
    (tmp_path / "page.html").write_text("old")
    (folder / "cases" / "notes.txt").touch()  # nnU-Net refuses the folder
    with pytest.raises(UserError, match="isn't a folder of preprocessed cases"):
        write_dataset_page(dataset, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "old"


def test_which_cases_are_viewed() -> None:
    entries = [
        Entry(case, status, CaseFigures("Dataset001_A", case))
        for case, status in zip("abcdefgh", ["failed", *["done"] * 5, "empty", "done"], strict=True)
    ]
    assert cases_to_view(entries, ["c", "h", "b", "f", "e", "d"]) == ["b", "c", "d", "h", "f", "e"]
    assert cases_to_view(entries[:3], ["c", "b"]) == ["b", "c"]
