"""scripts/benchmark_prompting.py: what its table is made of."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from benchmark_prompting import CHOICES, RECIPES, SOURCES, by_seed, cells, dataset_name, differences, measures, table
from benchmarking.kept_results import KeptResults

SEEN, UNSEEN = (CHOICES["brains"][choice][0] for choice in "ab")  # as choice "a" labels them


def found(label: int, *dice: float, kind: str = "point") -> dict:
    return {"label": label, "kind": kind, "dice": list(dice)}


def test_interactions_are_counted_until_dice_is_enough() -> None:
    objects = [
        found(1, 0.7, 0.8, 0.9, 0.9, 1.0),  # after the first
        found(1, 0.1, 0.2, 0.75, 0.6, 0.5, kind="box"),  # after the third, whatever comes later
        found(2, 0.0, 0.1, 0.2, 0.3, 0.3),  # never
    ]
    after_1, after_2, after_3, after_5, until, box, lasso, point = measures(objects, ["box", "lasso", "point"])
    assert (after_1, after_2) == (pytest.approx(0.8 / 3), pytest.approx(1.1 / 3))
    assert (after_3, after_5) == (pytest.approx(1.85 / 3), pytest.approx(1.8 / 3))
    assert until == pytest.approx((1 + 3 + 6) / 3)
    assert (box, point) == (0.1, 0.35)
    assert math.isnan(lasso)
    assert measures([], ["point"]) is None


def test_each_structure_is_unseen_once_and_every_dataset_has_its_number() -> None:
    a, b = (set(CHOICES["brains"][choice]) for choice in "ab")
    assert a | b == set(range(1, 7))
    assert not a & b
    names = {dataset_name(setting, choice, source) for setting, choice, source in every_dataset()}
    assert len({name[: len("Dataset960")] for name in names}) == len(names) == 9


def every_dataset() -> set[tuple[str, str, str]]:
    return {(setting, choice, source) for setting in CHOICES for choice in CHOICES[setting] for source in SOURCES}


def test_a_training_without_labels_serves_all_choices(tmp_path: Path) -> None:
    brains = [(cell.choice, cell.recipe) for cell in cells(["brains"], [*RECIPES], seed=0)]
    assert len(brains) == len(set(brains))
    assert [choice for choice, recipe in brains if recipe == "supervoxels"] == ["a"]
    assert [choice for choice, recipe in brains if recipe == "labels"] == ["a", "b"]
    results = KeptResults(tmp_path / "results.json", {})
    keep(results, "supervoxels", "a", [found(SEEN, 0.1), found(UNSEEN, 0.2)])
    # Each object counts as seen with one choice and as unseen with the other.
    for seen in (True, False):
        (objects,) = by_seed(results, "brains", "supervoxels", seen)
        assert sorted(one["dice"][0] for one in objects) == [0.1, 0.2]


def test_a_recipe_is_trained_with_what_it_starts_from() -> None:
    recipes = [cell.recipe for cell in cells(["phantoms"], ["supervoxels, then labels"], seed=0)]
    assert recipes == ["half the supervoxels", "supervoxels, then labels"]


def test_seen_and_unseen_are_those_of_the_training_s_own_choice(tmp_path: Path) -> None:
    results = KeptResults(tmp_path / "results.json", {})
    keep(results, "labels", "a", [found(SEEN, *[0.8] * 5), found(UNSEEN, *[0.2] * 5)])
    assert not list(by_seed(results, "brains", "labels", seen=False))  # the other choice's training isn't there yet
    keep(results, "labels", "b", [found(SEEN, *[0.1] * 5), found(UNSEEN, *[0.9] * 5)])
    seen, unseen = (next(by_seed(results, "brains", "labels", which)) for which in (True, False))
    assert sorted(one["dice"][0] for one in seen) == [0.8, 0.9]
    assert sorted(one["dice"][0] for one in unseen) == [0.1, 0.2]
    lines = table(results, "brains").splitlines()
    rows = [line.split() for line in lines if line.startswith("labels ")]
    assert [row[1] for row in rows] == ["0.85", "0.15"]


def keep(results: KeptResults, recipe: str, choice: str, objects: list[dict]) -> None:
    assert recipe in RECIPES
    cell = {"setting": "brains", "choice": choice, "recipe": recipe, "seed": 0, "objects": objects}
    results.add(f"{recipe} {choice}", cell)


def test_recipes_are_compared_seed_by_seed(tmp_path: Path) -> None:
    results = KeptResults(tmp_path / "results.json", {})
    keep(results, "supervoxels", "a", [found(UNSEEN, 0.5, 0.6, 0.7, 0.7, 0.9), found(SEEN, 0.5, 0.6, 0.7, 0.7, 0.9)])
    keep(results, "slic", "a", [found(UNSEEN, 0.4, 0.4, 0.4, 0.4, 0.5), found(SEEN, 0.4, 0.4, 0.4, 0.4, 0.5)])
    (ahead,) = differences(results, "brains", "supervoxels", "slic", seen=False)
    assert ahead == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert not len(differences(results, "brains", "supervoxels", "labels", seen=False))
    (line,) = [line for line in table(results, "brains").splitlines() if "supervoxels, ahead of slic" in line]
    assert line.split()[-12:] == ["0.100", "±", "-", "0.200", "±", "-", "0.300", "±", "-", "0.400", "±", "-"]
