"""The page in a real browser: no errors, no requests; sorting, filtering and the viewer work."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nnunetv2_supervoxel.pages.dataset_page import write_dataset_page
from nnunetv2_supervoxel.pages.viewer import COLOURS
from nnunetv2_supervoxel.quality.inputs import EvaluatedDataset

SECONDS = 120  # the most that anything may take on a busy machine
ODD_NAME = "x<i>&\"y' z"


@dataclass
class Opened:
    """A page in a browser, and what it complained about or asked for."""

    page: Any
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        self.page.on("request", lambda request: self._check(request.url))

    def _check(self, address: str) -> None:
        if not address.startswith(("file:", "data:", "blob:")):
            self.complaints.append(f"request: {address}")

    def cases(self) -> list[str]:
        """Those in the table that are seen, in their order."""
        seen = "rows => rows.filter(row => !row.hidden).map(row => row.id.slice(5))"
        return self.page.eval_on_selector_all("#case-table tbody tr", seen)

    def wait_for(self, case: str) -> None:
        """Until the viewer shows a case."""
        shown = "case_ => document.getElementById('viewer-panel').dataset.shown === case_"
        self.page.wait_for_function(shown, arg=case)

    def canvas(self) -> np.ndarray:
        """What the viewer has drawn: int (rows, columns, 3)."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        picture = self.page.locator("#viewer-canvas").screenshot()
        return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, browser: Any, dataset: EvaluatedDataset) -> dict[str, Path]:
    """One page with the viewer, one without."""
    folder = tmp_path_factory.mktemp("browser")
    pages = {"viewer": folder / "viewer.html", "table": folder / "table.html"}
    write_dataset_page(dataset, pages["viewer"], view=["a1", "empty", ODD_NAME, "damaged"])
    write_dataset_page(dataset, pages["table"], view=[])
    return pages


@contextmanager
def opened_in(browser: Any, path: Path) -> Iterator[Opened]:
    """A page that must not complain, nor ask for anything from elsewhere."""
    context = browser.new_context(viewport={"width": 1000, "height": 900})
    context.set_default_timeout(1000 * SECONDS)
    one = Opened(context.new_page())
    one.listen()
    one.page.goto(path.as_uri())
    yield one
    context.close()
    assert one.complaints == []


@pytest.fixture
def table(browser: Any, pages: dict[str, Path]) -> Iterator[Opened]:
    with opened_in(browser, pages["table"]) as one:
        yield one


@pytest.fixture(scope="module")
def viewer(browser: Any, pages: dict[str, Path]) -> Iterator[Opened]:
    """Opened once for all tests: drawing in software takes seconds."""
    with opened_in(browser, pages["viewer"]) as one:
        one.wait_for("a1")
        yield one


def share_of(picture: np.ndarray, colour: str, opacity: float = 0.5) -> float:
    """Share of the pixels whose hue is that of a colour laid over grey."""
    wanted = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)])
    over_grey = picture - opacity * wanted  # what is left must be grey
    return float(((np.ptp(over_grey, axis=2) < 12) & (np.ptp(picture, axis=2) > 20)).mean())


def test_sorting(table: Opened) -> None:
    def sort(title: str) -> None:
        table.page.locator("th button").get_by_text(title, exact=True).click()

    named = ["a1", "a2", "a3", "a4", "a5", "damaged", "empty", "few", "missing", "other", ODD_NAME]
    assert table.cases() == named
    sort("case")
    sort("case")
    assert table.cases() == named[::-1]
    assert table.page.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    sort("supervoxels")
    first = table.cases()
    assert first[:2] == ["empty", "few"]
    assert set(first[-2:]) == {"damaged", "missing"}  # they have no number, so they come last ...
    counts = table.page.eval_on_selector_all(
        "#case-table tbody tr td:nth-child(3)", "cells => cells.map(cell => Number(cell.dataset.value))"
    )
    assert counts[:-2] == sorted(counts[:-2])
    sort("supervoxels")
    assert set(table.cases()[-2:]) == {"damaged", "missing"}  # ... in both directions


def test_filtering(table: Opened) -> None:
    table.page.fill("#filter-text", "A2")
    assert table.cases() == ["a2"]
    assert table.page.inner_text("#filter-count") == "1 of 11 cases"
    table.page.fill("#filter-text", "<i>&")
    assert table.cases() == [ODD_NAME]
    table.page.fill("#filter-text", "")
    table.page.select_option("#filter-finding", "few")
    assert table.cases() == ["few"]
    table.page.fill("#filter-text", "a1")
    assert table.cases() == []
    table.page.click("[data-show=settings]")  # a finding's link to the table
    assert table.cases() == ["other"]
    table.page.evaluate("location.hash = '#case-a3'")  # a link to a case that is filtered out
    table.page.wait_for_function("!document.getElementById('case-a3').hidden")
    assert len(table.cases()) == 11


@pytest.mark.parametrize("width", [1600, 1300, 1281, 1000, 400])
def test_the_table_stays_inside_the_margins(table: Opened, width: int) -> None:
    table.page.set_viewport_size({"width": width, "height": 900})
    title, scrolled, cases, whole = table.page.evaluate(
        "['h1', '.wide', '#case-table', 'html'].map(one => document.querySelector(one).getBoundingClientRect().right)"
    )
    assert scrolled == title
    assert cases <= title or width < 1281  # there it scrolls
    assert table.page.evaluate("document.documentElement.scrollWidth") <= whole
    pictures = table.page.eval_on_selector_all("td img", "all => all.map(one => one.getBoundingClientRect().width)")
    assert min(pictures) > 200


def test_the_viewer_draws_the_image_and_supervoxels(viewer: Opened) -> None:
    assert not viewer.page.is_visible("#viewer-message")
    number = viewer.page.locator("#viewer-list input").count()
    assert number > 3
    everything = viewer.canvas()
    assert (np.ptp(everything, axis=2) > 20).mean() > 0.01

    viewer.page.click("#viewer-none")
    bare = viewer.canvas()
    assert ((bare.min(axis=2) > 60) & (np.ptp(bare, axis=2) < 12)).mean() > 0.05  # the body, grey
    assert max(share_of(bare, colour) for colour in COLOURS[:number]) < 0.002
    assert not viewer.page.is_checked("#viewer-list label:nth-child(2) input")

    viewer.page.click("#viewer-list label:nth-child(2) input")
    assert share_of(viewer.canvas(), COLOURS[1]) > 0.002

    viewer.page.click("#viewer-all")
    assert np.abs(viewer.canvas() - everything).max(axis=2).mean() > 0  # the crosshair is elsewhere now
    assert viewer.page.is_checked(f"#viewer-list label:nth-child({number}) input")


def test_supervoxels_are_scrolled_through(viewer: Opened) -> None:
    viewer.page.click("#viewer-next")
    checked = "boxes => boxes.map(box => box.checked).indexOf(true)"
    assert viewer.page.eval_on_selector_all("#viewer-list input", checked) == 1
    assert share_of(viewer.canvas(), COLOURS[1]) > 0.002
    assert share_of(viewer.canvas(), COLOURS[0]) < 0.002
    viewer.page.click("#viewer-previous")
    viewer.page.click("#viewer-previous")
    number = viewer.page.locator("#viewer-list input").count()
    assert viewer.page.eval_on_selector_all("#viewer-list input", checked) == number - 1
    viewer.page.fill("#viewer-only", "3")
    assert viewer.page.eval_on_selector_all("#viewer-list input", checked) == 2
    assert share_of(viewer.canvas(), COLOURS[2]) > 0.002
    viewer.page.fill("#viewer-opacity", "0")
    assert share_of(viewer.canvas(), COLOURS[2]) < 0.002


def test_other_cases_are_shown(viewer: Opened) -> None:
    viewer.page.select_option("#viewer-case", label="empty")
    viewer.wait_for("empty")
    assert viewer.page.locator("#viewer-list input").count() == 0
    viewer.page.select_option("#viewer-case", label=ODD_NAME)
    viewer.wait_for(ODD_NAME)
    assert viewer.page.locator("#viewer-list input").count() > 3
    viewer.page.select_option("#viewer-case", label="damaged")
    viewer.page.wait_for_function("document.getElementById('viewer-about').textContent.includes('damaged')")


def test_without_webgl_the_rest_works(browser: Any, pages: dict[str, Path]) -> None:
    context = browser.new_context()
    context.set_default_timeout(1000 * SECONDS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(pages["viewer"].as_uri())
    assert "no WebGL 2" in page.inner_text("#viewer-message")
    assert not page.is_visible("#viewer-panel")
    page.fill("#filter-text", "a3")
    assert page.inner_text("#filter-count") == "1 of 11 cases"
    context.close()
    assert complaints == []


def test_without_javascript_it_can_be_read(browser: Any, pages: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(1000 * SECONDS)
    page = context.new_page()
    page.goto(pages["viewer"].as_uri())
    assert "needs JavaScript" in page.inner_text("#viewer-message")
    assert not page.is_visible("#filter-text")  # nothing that would do nothing
    assert page.locator("#case-table tbody tr").count() == 11
    context.close()
