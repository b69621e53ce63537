"""The page of a validation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_supervoxel.pages import training_page
from nnunetv2_supervoxel.pages.training_page import extremes, write_training_page
from nnunetv2_supervoxel.training.evaluation import ObjectResult, summarise

NAMES = ("<case 0>", "case1")


def results() -> dict[str, list[ObjectResult]]:
    """Twenty objects of two cases; the larger, the better."""
    objects: dict[str, list[ObjectResult]] = {name: [] for name in NAMES}
    for number in range(20):
        source = "label" if number % 4 == 3 else "supervoxel"
        kind = ("point+", "box+")[number % 2]
        one = ObjectResult(source, number + 1, (1, 2, 3), 100 * (number + 1), 1.0, [kind, "none"], [0.0, number / 20])
        one.picture = f"picture {number}".encode()
        objects[NAMES[number % 2]].append(one)
    return objects


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict]]:
    """The lines of every plot."""
    lines: list[dict] = []
    monkeypatch.setattr(training_page, "curves", lambda of, *_: lines.append(dict(of)) or "data:,")
    return lines


def written(path: Path, summary: dict) -> str:
    pictures = {case: [one.picture for one in objects] for case, objects in results().items()}
    write_training_page(path, "Dataset001_A, fold 0", summary, pictures)
    return path.read_text()


def test_pictures_stay_out_of_the_summary() -> None:
    assert "picture" not in summarise(results(), 2)["cases"]["case1"][0]


def test_best_and_worst_objects_have_their_own_pictures(tmp_path: Path) -> None:
    import base64

    text = written(tmp_path / "page.html", summarise(results(), 2))
    worst, best = text.split("<h2>Worst objects")[1].split("<h2>Best objects")
    for part, numbers in ((worst, range(6)), (best.split("<h2>")[0], range(19, 13, -1))):
        addresses = re.findall(r'<img src="data:image/webp;base64,([^"]+)"', part)
        assert [base64.b64decode(address).decode() for address in addresses] == [f"picture {n}" for n in numbers]
        assert re.findall(r"Dice ([\d.]+)</b>", part) == [f"{n / 20:.3f}" for n in numbers]
    assert text.count("<tr data-findings") == 20
    assert "&lt;case 0&gt;" in text
    assert "<case 0>" not in text


def test_extremes_of_parts_hold_those_of_all() -> None:
    """So pictures of other objects can be forgotten early, also where many objects are equally good."""
    dice = [0.5] * 9 + [0.0] * 8 + [0.9] * 3 + [1.0] * 7
    objects = list(enumerate(np.random.default_rng(0).permutation(dice)))
    worst, best = extremes(objects, lambda one: one[1])
    assert [one[1] for one in worst] == [0.0] * 6
    assert [one[1] for one in best] == [1.0] * 6
    seen: list = []
    for start in range(0, len(objects), 5):
        worst_so_far, best_so_far = extremes([*seen, *objects[start : start + 5]], lambda one: one[1])
        seen = sorted([*worst_so_far, *best_so_far])
    assert extremes(seen, lambda one: one[1]) == (worst, best)
    few = [(0, 0.5), (1, 0.1), (2, 0.7), (3, 0.2), (4, 0.3), (5, 0.4), (6, 0.6)]
    assert extremes(few, lambda one: one[1])[1] == [(2, 0.7)]


def test_curves_by_type_and_size(tmp_path: Path, shown: list[dict]) -> None:
    written(tmp_path / "page.html", summarise(results(), 2))
    by_type, by_size, _, of_labels = shown
    assert list(by_type) == ["all (15)", "box (5)", "point (10)"]
    assert by_type["point (10)"][1] == pytest.approx(np.mean(np.arange(0, 20, 2) / 20))
    assert list(by_size) == [
        "small: 100 to 600 voxels (5)",
        "medium: 700 to 1,300 voxels (5)",
        "large: 1,400 to 1,900 voxels (5)",
    ]
    curve = by_size["small: 100 to 600 voxels (5)"]
    assert curve == pytest.approx([0, np.mean([0, 1, 2, 4, 5]) / 20])
    assert sum(int(label.split("(")[1][:-1]) for label in of_labels) == 5


def test_a_start_model_is_compared(tmp_path: Path, shown: list[dict]) -> None:
    summary = summarise(results(), 2)
    before = {"objects": 15, "dice": [0.125, 0.25]}
    text = written(tmp_path / "page.html", summary | {"start": {"mean": {"supervoxel": before, "label": before}}})
    assert shown[0]["start model"] == [0.125, 0.25]
    assert "0.125, 0.250</b> of the start model" in text


def test_few_objects_are_shown_once(tmp_path: Path) -> None:
    few = {"case1": results()["case1"][:2]}
    write_training_page(tmp_path / "page.html", "A", summarise(few, 2), {"case1": [b"a", b"b"]})
    text = (tmp_path / "page.html").read_text()
    assert text.count('<img src="data:image/webp') == 2
    assert "Best objects" not in text
