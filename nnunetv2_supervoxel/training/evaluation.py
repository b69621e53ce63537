"""The final validation: how Dice grows with interactions, for every object, and whether the network follows prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import cc3d
import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
import torch

from nnunetv2_supervoxel.config import InteractionKind, PromptTrainingConfig
from nnunetv2_supervoxel.masks.boxes import bounding_box
from nnunetv2_supervoxel.prompts.user import SimulatedUser
from nnunetv2_supervoxel.randomness import case_generator
from nnunetv2_supervoxel.training.dataset import Bounds, PromptCase, patch_bounds, read_patch
from nnunetv2_supervoxel.training.rounds import InteractionRounds, dice

Predict = Callable[[torch.Tensor], torch.Tensor]  # (1, c + 7, z, y, x) -> logits (1, 2, z, y, x)
# The image's first channel (z, y, x), an object's mask (z, y, x), and what was prompted and predicted -> a picture.
Draw = Callable[[np.ndarray, np.ndarray, InteractionRounds], bytes]
SOURCES = ("supervoxel", "label")


@dataclass(frozen=True, eq=False)
class ValidationObject:
    """An object of a case.

    Attributes:
        source: "supervoxel" or "label".
        key: supervoxel number from 1, or label.
        centre: the object's voxel (z, y, x) nearest its centre of mass.
        voxels: its size in the whole volume.
        patch: reads its mask, boolean (*patch), within bounds.
    """

    source: Literal["supervoxel", "label"]
    key: int
    centre: tuple[int, int, int]
    voxels: int
    patch: Callable[[Bounds], np.ndarray]


@dataclass
class ObjectResult:
    """What came out for one object, for summary.json.

    Attributes:
        source: "supervoxel" or "label".
        key: supervoxel number from 1, or label.
        centre: voxel (z, y, x) around which the patch was read.
        voxels: size in the whole volume; Dice looks at the patch alone.
        share_in_patch: share of these voxels inside the patch.
        interactions: type and sign ("point+"), "none" where nothing was left to correct.
        dice: after each of them.
        other: what the network predicts after one prompt at another object of the same source in the same patch: Dice
            with the other object ("dice_with_other") and with this one ("dice_with_this"). None if there is no other.
        picture: of the object, for the page; it stays out of summary.json.
    """

    source: str
    key: int
    centre: tuple[int, int, int]
    voxels: int
    share_in_patch: float
    interactions: list[str]
    dice: list[float]
    other: dict | None = None
    picture: bytes = b""


def evaluate_case(
    case: PromptCase,
    predict: Predict,
    user: SimulatedUser,
    config: PromptTrainingConfig,
    patch_size: Sequence[int],
    device: torch.device,
    draw: Draw | None = None,
) -> list[ObjectResult]:
    """Prompt for every object of a case, each in one patch around the object's centre.

    Args:
        case: opened.
        predict: the network.
        user: draws prompts. First prompts use the types in turn; the types of corrections are drawn by weight.
        config: number of interactions and objects.
        patch_size: (z, y, x) in voxels.
        device: where the network is.
        draw: makes each object's picture; None: there are none.

    Returns:
        One result per object with at least `min_target_voxels` voxels in its patch. The same network gives the same
        results, whatever else is evaluated.
    """
    results = []
    objects = [*supervoxel_objects(case, config), *label_objects(case, config)]
    for number, found in enumerate(objects):
        bounds = patch_bounds(found.centre, case.shape, patch_size, patch_size)
        target = found.patch(bounds)
        if np.count_nonzero(target) < config.min_target_voxels:
            continue
        rng = prompts_generator(case.name, found)
        image = torch.from_numpy(case.image_patch(bounds))[None].to(device)

        marked = partial(case.with_unknown, source=found.source, bounds=bounds)

        def start(
            mask: np.ndarray,
            marked: Callable[[np.ndarray], np.ndarray] = marked,
            image: torch.Tensor = image,
            rng: np.random.Generator = rng,
        ) -> InteractionRounds:
            target = torch.from_numpy(marked(mask))[None, None]
            return InteractionRounds(image, target, user, config.interaction_decay, rng)

        first, rounds = user.kinds[number % len(user.kinds)], start(target)
        result = _curve(found, rounds, predict, config.validation_interactions, first)
        result.share_in_patch = float(np.count_nonzero(target) / found.voxels)
        if draw:
            result.picture = draw(image[0, 0].cpu().numpy(), target, rounds)
        others = [
            other.patch(bounds)
            for other in objects
            if other is not found and other.source == found.source and _within(other.centre, bounds)
        ]
        result.other = _at_another(target, others, start, predict, first)
        results.append(result)
    return results


def prompts_generator(case: str, found: ValidationObject) -> np.random.Generator:
    """The random stream for the prompts that the validation gives for an object of the case named `case`."""
    return case_generator(0, case, f"validation of {found.source} {found.key} at {found.centre}")


def supervoxel_objects(case: PromptCase, config: PromptTrainingConfig) -> Iterator[ValidationObject]:
    """The case's supervoxels, as many as the config allows."""
    for channel in range(min(case.supervoxels.shape[0], config.validation_objects_per_case)):
        mask = np.asarray(case.supervoxels[channel]) > 0
        if mask.any():

            def patch(bounds: Bounds, channel: int = channel) -> np.ndarray:
                return read_patch(case.supervoxels, channel, bounds, 0) > 0

            yield ValidationObject("supervoxel", channel + 1, central_voxel(mask), int(np.count_nonzero(mask)), patch)


def label_objects(case: PromptCase, config: PromptTrainingConfig) -> Iterator[ValidationObject]:
    """Connected components of the case's real labels, the largest ones, as many as the config allows."""
    labels = np.asarray(case.segmentation[0])
    labels = np.where((labels > 0) & (labels != (case.ignore_label or 0)), labels, 0).astype(np.int32)
    components = cc3d.connected_components(labels, connectivity=26)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    largest = np.argsort(sizes)[::-1][: config.validation_objects_per_case]
    for number in largest[sizes[largest] >= config.min_target_voxels]:
        mask = components == number
        centre = central_voxel(mask)

        def patch(bounds: Bounds, number: int = number) -> np.ndarray:
            return read_patch(components[None], 0, bounds, 0) == number

        yield ValidationObject("label", int(labels[centre]), centre, int(sizes[number]), patch)


def central_voxel(mask: np.ndarray) -> tuple[int, int, int]:
    """The voxel (z, y, x) of a boolean mask (not empty) that is nearest to its centre of mass."""
    box = bounding_box(mask)
    assert box is not None
    voxels = np.argwhere(mask[box])
    nearest = voxels[np.argmin(((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1))]
    return tuple(int(index) + side.start for index, side in zip(nearest, box, strict=True))


def summarise(
    cases: dict[str, list[ObjectResult]], interactions: int, label_names: Mapping[int, str] | None = None
) -> dict:
    """All results and their means, JSON-serialisable.

    Args:
        cases: results by case.
        interactions: how many every object got.
        label_names: what labels are called; those without a name are called by their number.

    Returns:
        ``{"interactions": k, "mean": {"supervoxel": ..., "label": ...}, "by_label": {name: ...}, "cases": {case:
        [result, ...]}}``. Each mean holds the number of objects, the Dice after each interaction, and the means of
        `ObjectResult.other`. Those of a source hold all of this once more for each type of the first prompt. Sources
        and labels without any object are left out.
    """
    everything = [result for results in cases.values() for result in results]
    mean = {}
    for source in SOURCES:
        results = [result for result in everything if result.source == source]
        if results:
            kinds = sorted({result.interactions[0].rstrip("+-") for result in results})
            mean[source] = _mean(results) | {
                "by_first_prompt": {
                    kind: _mean([r for r in results if r.interactions[0].startswith(kind)]) for kind in kinds
                }
            }
    labels = sorted({result.key for result in everything if result.source == "label"})
    return {
        "interactions": interactions,
        "mean": mean,
        "by_label": {
            (label_names or {}).get(label, str(label)): _mean(
                [result for result in everything if result.source == "label" and result.key == label]
            )
            for label in labels
        },
        "cases": {case: [_without_picture(result) for result in results] for case, results in cases.items()},
    }


def gains(summary: dict) -> list[str]:
    """What a training changed, a line for supervoxels and for every label: Dice of the start model, and now.

    Args:
        summary: of `summarise`, with that of the start model as "start".
    """
    names = {"supervoxels": "supervoxel", "all labels": "label"}
    pairs = {
        name: (summary["start"]["mean"][source], summary["mean"][source])
        for name, source in names.items()
        if source in summary["mean"]
    }
    pairs |= {name: (summary["start"]["by_label"][name], now) for name, now in summary["by_label"].items()}
    last = summary["interactions"]
    lines = []
    for name, (before, now) in pairs.items():
        told = [f"{before['dice'][i]:.3f} -> {now['dice'][i]:.3f} after {count}" for i, count in ((0, 1), (-1, last))]
        lines.append(f"{name} ({now['objects']} objects): {', '.join(told)}")
    return lines


def plot_curves(summary: dict, path: Path) -> None:
    """Dice over interactions as a PNG: the mean of each source, thin lines for the types of the first prompt.

    If the training started from a model, its means are dashed lines.
    """
    with matplotlib.style.context("default"):  # nnU-Net sets a style with large letters
        _plot_curves(summary, path)


def _plot_curves(summary: dict, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 5), dpi=120)
    steps = range(1, summary["interactions"] + 1)
    for color, (source, mean) in enumerate(summary["mean"].items()):
        label = f"{source}s ({mean['objects']})"
        axes.plot(steps, mean["dice"], color=f"C{color}", linewidth=3, marker="o", label=label)
        for style, (kind, part) in zip((":", "--", "-.", "-"), mean["by_first_prompt"].items(), strict=False):
            axes.plot(steps, part["dice"], color=f"C{color}", ls=style, linewidth=1, label=f"  first: {kind}")
        if "start" in summary:
            before = summary["start"]["mean"][source]["dice"]
            axes.plot(steps, before, color=f"C{color}", ls="--", linewidth=3, alpha=0.5, label="  start model")
    axes.set(xlabel="interactions", ylabel="Dice", ylim=(0, 1), xticks=steps)
    axes.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def _without_picture(result: ObjectResult) -> dict:
    return {name: value for name, value in asdict(result).items() if name != "picture"}


def _curve(
    found: ValidationObject, rounds: InteractionRounds, predict: Predict, interactions: int, first: InteractionKind
) -> ObjectResult:
    """Dice over interactions. It stays the same when nothing is left to correct."""
    result = ObjectResult(found.source, found.key, found.centre, found.voxels, 1.0, [], [])
    for number in range(interactions):
        rounds.prompt(first if number == 0 else None)
        given = rounds.given[0][-1]
        if given is not None:
            rounds.observe(predict(rounds.input))
        result.interactions.append("none" if given is None else given.kind + ("+" if given.positive else "-"))
        result.dice.append(float(rounds.dice()[0]))
    return result


def _within(voxel: tuple[int, int, int], bounds: Bounds) -> bool:
    return all(low <= index < high for index, (low, high) in zip(voxel, bounds, strict=True))


def _at_another(
    target: np.ndarray,
    others: list[np.ndarray],
    start: Callable[[np.ndarray], InteractionRounds],
    predict: Predict,
    kind: InteractionKind,
) -> dict | None:
    """Dice after one prompt at another object: the largest in the patch that hardly overlaps `target`. None if tiny."""
    size = np.count_nonzero(target)
    apart = [o for o in others if np.count_nonzero(o & target) <= 0.05 * min(size, np.count_nonzero(o))]
    other = max(apart, key=np.count_nonzero, default=None)
    if other is None or np.count_nonzero(other) < 0.1 * size:
        return None
    rounds = start(other)
    rounds.prompt(kind)
    rounds.observe(predict(rounds.input))
    prediction = rounds.prediction(0)
    return {
        "voxels": int(np.count_nonzero(other)),
        "dice_with_other": dice(prediction, other),
        "dice_with_this": dice(prediction, target),
    }


def _mean(results: list[ObjectResult]) -> dict:
    pairs = [result.other for result in results if result.other]
    return {
        "objects": len(results),
        "dice": np.mean([result.dice for result in results], axis=0).tolist(),
        "prompted_at_another": {
            "pairs": len(pairs),
            **{
                name: float(np.mean([pair[name] for pair in pairs])) if pairs else None
                for name in ("dice_with_other", "dice_with_this")
            },
        },
    }
