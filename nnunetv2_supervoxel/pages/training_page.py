"""The page of a prompt training's final validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nnunetv2_supervoxel.pages.object_pictures import COLOURS
from nnunetv2_supervoxel.pages.pictures import data_uri
from nnunetv2_supervoxel.pages.plots import curves
from nnunetv2_supervoxel.pages.rendering import write_page

Entry = TypeVar("Entry")

EXTREMES = 6  # how many of the best and of the worst objects are shown
_SIZES = ("small", "medium", "large")


def write_training_page(
    path: Path, title: str, summary: Mapping[str, Any], pictures: Mapping[str, Sequence[bytes]]
) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        title: what was trained.
        summary: of `evaluation.summarise`, perhaps with that of the model that the training started from as "start".
        pictures: by case, one for each object, in their order in the summary. Those of the `extremes` are shown, and
            others may be empty.

    Raises:
        NotWritableError: there is no room in the folder, or writing isn't allowed.
    """
    objects = _objects(summary, pictures)
    worst, best = extremes(objects, lambda one: one["dice"][-1])
    content = {
        "title": title,
        "summary": summary,
        "plots": _plots(summary, objects),
        "groups": {"Worst": worst, "Best": best},
        "objects": objects,
        "colours": {name: "#{:02x}{:02x}{:02x}".format(*colour) for name, colour in COLOURS.items()},
    }
    write_page(path, "training.html", content)


def extremes(objects: Sequence[Entry], dice: Callable[[Entry], float]) -> tuple[list[Entry], list[Entry]]:
    """The objects whose pictures are shown: the worst, and the best of the others, each list from its end inwards.

    Args:
        objects: in the order of the summary, by which those of equal Dice are told apart. Whatever isn't among the
            extremes of a part of them isn't among those of all.
        dice: an object's, after the last interaction.
    """
    ranked = sorted(objects, key=dice)
    return ranked[:EXTREMES], ranked[EXTREMES:][::-1][:EXTREMES]


def _objects(summary: Mapping[str, Any], pictures: Mapping[str, Sequence[bytes]]) -> list[dict[str, Any]]:
    """Every object with its case and the address of its picture."""
    return [
        {**one, "case": case, "picture": data_uri(picture, "image/webp")}
        for case, results in summary["cases"].items()
        for one, picture in zip(results, pictures[case], strict=True)
    ]


def _plots(summary: Mapping[str, Any], objects: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Title and address of the picture of each plot."""
    plots = []
    for source, mean in summary["mean"].items():
        lines = {f"all ({mean['objects']})": mean["dice"]}
        if "start" in summary:
            lines["start model"] = summary["start"]["mean"][source]["dice"]
        lines |= {f"{kind} ({one['objects']})": one["dice"] for kind, one in mean["by_first_prompt"].items()}
        plots.append((f"{source}s by type of the first prompt", curves(lines, "interactions", "Dice")))
        sizes = _by_size([one for one in objects if one["source"] == source])
        plots.append((f"{source}s by size", curves(sizes, "interactions", "Dice")))
    return plots


def _by_size(objects: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[float]]:
    """Mean curves of the small, the medium and the large third, by what they are called."""
    ordered = sorted(objects, key=lambda one: one["voxels"])
    lines = {}
    for name, part in zip(_SIZES, np.array_split(np.arange(len(ordered)), len(_SIZES)), strict=True):
        if part.size:
            third = [ordered[index] for index in part]
            label = f"{name}: {third[0]['voxels']:,} to {third[-1]['voxels']:,} voxels ({len(third)})"
            lines[label] = np.mean([one["dice"] for one in third], axis=0).tolist()
    return lines
