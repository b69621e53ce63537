"""Does a trained model do in nnInteractive what its validation says? Clicks it through the official session.

    python scripts/evaluate_in_session.py /tmp/prompts/phantoms

FOLDER is what scripts/train_prompts.py wrote (nnUNet_raw, nnUNet_preprocessed, trained). The model is exported with
the public command, and opened with nnInteractive's session on the CPU. The session is shown whole raw images. For every
object that the validation prompted for, the same simulated user gives the same first prompt. Then the user looks at the
session's answer and corrects it, with prompts of the types that the validation used.

The session differs from the validation. It reads its patch around the prompt, not around the middle of the object. It
normalises the raw image by itself, and keeps prompts in half precision. Its automatic zoom is off where it fails with
small patches. "In the patch" is the Dice where the validation looked. "Whole image" counts everything that the session
segmented.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from benchmarking.nnunet import run, set_environment
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_supervoxel.export.nninteractive import can_zoom
from nnunetv2_supervoxel.export.predict import open_session, set_image
from nnunetv2_supervoxel.export.trained_model import TrainedModel, load_trained_model
from nnunetv2_supervoxel.files.supervoxel_files import supervoxel_folder
from nnunetv2_supervoxel.files.volumes import read_channels
from nnunetv2_supervoxel.prompts.interaction import Interaction
from nnunetv2_supervoxel.prompts.user import SimulatedUser
from nnunetv2_supervoxel.training.dataset import Bounds, PromptCase, PromptDataset, patch_bounds, read_patch
from nnunetv2_supervoxel.training.evaluation import (
    ValidationObject,
    label_objects,
    prompts_generator,
    supervoxel_objects,
)
from nnunetv2_supervoxel.training.rounds import dice

if TYPE_CHECKING:
    from nnInteractive.inference.inference_session import nnInteractiveInferenceSession

TOLERANCE = 0.05  # of Dice after one prompt


class Curves(NamedTuple):
    """Dice over interactions for one object.

    Attributes:
        source: "supervoxel" or "label".
        validation: in the trainer's validation.
        in_patch: in the session, within the validation's patch.
        whole: in the session, in the whole image.
    """

    source: str
    validation: list[float]
    in_patch: list[float]
    whole: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="that scripts/train_prompts.py wrote")
    parser.add_argument("--trained", default="trained", help="its part with nnUNet_results (default: %(default)s)")
    parser.add_argument(
        "--validation",
        default="validation",
        help="the fold's folder with the validation's summary.json (default: %(default)s, prompts of the last run)",
    )
    parser.add_argument("--cases", type=int, help="so many validation cases at most (default: all)")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = parser.parse_args()

    folder = arguments.folder.resolve()
    set_environment(folder)
    os.environ["nnUNet_results"] = str(folder / arguments.trained)
    summaries = list((folder / arguments.trained).glob(f"*/*/fold_*/{arguments.validation}/summary.json"))
    if len(summaries) != 1:
        parser.error(f"{folder / arguments.trained} must hold one trained and validated fold, but has {len(summaries)}")
    summary = json.loads(summaries[0].read_text())
    dataset, named = names_of(summaries[0].parents[1])
    cases = sorted(summary["cases"])[: arguments.cases]
    with tempfile.TemporaryDirectory() as aside:
        exported = Path(aside) / "model"
        run("nnUNetv2_supervoxel_export", *sum(named.items(), ()), "-o", exported, "--format", "nninteractive")
        session = open_session(exported, torch.device("cpu"))
    model = load_trained_model(*named.values())
    zoom = can_zoom(session.configuration_manager.patch_size)
    print(f"The session's automatic zoom is {'on' if zoom else 'off: the patch is small'}.")
    curves = [curve for case in cases for curve in evaluate(case, summary["cases"][case], dataset, model, session)]
    sources = sorted({curve.source for curve in curves})
    figures = {source: means([curve for curve in curves if curve.source == source]) for source in sources}
    print("\n".join(table(source, figure) for source, figure in figures.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures | {"cases": cases}, indent=1) + "\n")


def names_of(fold: Path) -> tuple[str, dict[str, str]]:
    """The dataset's name, and what nnU-Net's and our commands call a fold in nnUNet_results: flag to name."""
    dataset, (trainer, plans, configuration) = fold.parts[-3], fold.parts[-2].split("__")
    flags = {"-d": dataset, "-tr": trainer, "-p": plans, "-c": configuration, "-f": fold.name.removeprefix("fold_")}
    return dataset, flags


def evaluate(
    name: str, validated: list[dict], dataset: str, model: TrainedModel, session: nnInteractiveInferenceSession
) -> Iterator[Curves]:
    """Curves of Dice over interactions for the objects of a case.

    Args:
        name: of the case.
        validated: its results in the validation's summary.json.
        dataset: such as Dataset989_Phantoms.
        model: what was trained.
        session: with the same model.

    Raises:
        SystemExit: preprocessing changed the image's voxels, so that objects and raw image lie on different grids.
    """
    images = read_channels([Path(os.environ["nnUNet_raw"]) / dataset / "imagesTr" / f"{name}_0000.nii.gz"])
    case = open_case(name, dataset, model)
    sizes = images[0].GetSize()[::-1]
    shape = tuple(sizes[axis] for axis in session.plans_manager.transpose_forward)
    if shape != case.shape:
        raise SystemExit(f"{name} has {shape} voxels, preprocessed {case.shape}; the session can't resample.")
    set_image(session, images)
    patch_size = session.configuration_manager.patch_size
    prompts = model.prompts
    user = SimulatedUser(prompts.interactions, prompts.point_radius, prompts.scribble_thickness)
    results = {(result["source"], result["key"], tuple(result["centre"])): result for result in validated}
    for found in (*supervoxel_objects(case, model.prompts), *label_objects(case, model.prompts)):
        result = results.get((found.source, found.key, found.centre))
        if result:
            bounds = patch_bounds(found.centre, case.shape, patch_size, patch_size)
            try:
                with contextlib.redirect_stdout(io.StringIO()):  # the session prints every step
                    in_patch, whole = click(session, name, found, result["interactions"], user, bounds, case.shape)
            except TypeError as error:  # nninteractive 2.6, zooming out for a prompt larger than most of a small patch
                print(f"{name}, {found.source} {found.key}: left out, the session failed ({error})")
                continue
            yield Curves(found.source, result["dice"], in_patch, whole)


def open_case(name: str, dataset: str, model: TrainedModel) -> PromptCase:
    """The preprocessed case with its objects."""
    preprocessed = Path(os.environ["nnUNet_preprocessed"]) / dataset
    identifier = PlansManager(model.plans).get_configuration(model.configuration).data_identifier
    return PromptDataset(preprocessed / identifier, supervoxel_folder(preprocessed, identifier), [name]).open_case(name)


def click(
    session: nnInteractiveInferenceSession,
    case: str,
    found: ValidationObject,
    interactions: list[str],
    user: SimulatedUser,
    bounds: Bounds,
    shape: tuple[int, int, int],
) -> tuple[list[float], list[float]]:
    """Dice after each interaction: in the validation's patch, and in the whole image.

    Args:
        session: with the image.
        case: its name.
        found: the object.
        interactions: the validation's, such as "point+".
        user: draws prompts.
        bounds: of the patch, which may reach beyond the image.
        shape: of the image (z, y, x).
    """
    rng = prompts_generator(case, found)
    target, whole_target = found.patch(bounds), found.patch([(0, size) for size in shape])
    buffer = np.zeros(shape, np.uint8)
    session.set_target_buffer(buffer)
    session.reset_interactions()
    in_patch, whole = [], []
    for number, given in enumerate(interactions):
        kind = given.rstrip("+-") if given != "none" else None
        prediction = crop(buffer, bounds)
        prompt = user.correct(target, prediction, rng, kind) if number else user.first(target, rng, kind)
        if prompt is not None:
            give(session, prompt, [low for low, _ in bounds], shape)
        in_patch.append(dice(crop(buffer, bounds), target))
        whole.append(dice(buffer > 0, whole_target))
    return in_patch, whole


def give(
    session: nnInteractiveInferenceSession, prompt: Interaction, patch: list[int], shape: tuple[int, int, int]
) -> None:
    """Enter a prompt that was drawn in a patch with its first voxel at `patch`. The session predicts at once."""
    start = np.add(prompt.origin, patch)
    if prompt.kind == "point":
        session.add_point_interaction(tuple(map(int, np.add(prompt.centre, patch))), prompt.positive)
        return
    first = np.maximum(start, 0)
    last = np.minimum(start + prompt.stamp.shape, shape)
    if prompt.kind == "box":
        session.add_bbox_interaction(np.stack([first, last], axis=1).tolist(), prompt.positive)
        return
    drawn = np.zeros(shape, np.uint8)
    into = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    drawn[into] = prompt.stamp[tuple(slice(a, b) for a, b in zip(first - start, last - start, strict=True))] > 0
    add = session.add_scribble_interaction if prompt.kind == "scribble" else session.add_lasso_interaction
    add(drawn, prompt.positive)


def crop(buffer: np.ndarray, bounds: Bounds) -> np.ndarray:
    """Boolean (*patch): the session's segmentation within bounds, False beyond the image."""
    return read_patch(buffer[None], 0, bounds, 0) > 0


def means(curves: list[Curves]) -> dict:
    """The number of objects and the mean curves."""
    names = ("validation", "in_patch", "whole")
    mean = {name: np.mean([getattr(curve, name) for curve in curves], axis=0).tolist() for name in names}
    return {"objects": len(curves), **mean}


def table(source: str, figure: dict) -> str:
    """The figures side by side, and whether they agree."""
    lines = [f"Dice, {figure['objects']} {source}s"]
    lines.append(f"{'interactions':>12}{'validation':>14}{'session, in the patch':>25}{'session, whole image':>25}")
    for number, values in enumerate(zip(figure["validation"], figure["in_patch"], figure["whole"], strict=True), 1):
        lines.append(f"{number:12}{values[0]:14.3f}{values[1]:25.3f}{values[2]:25.3f}")
    verdict = "within" if abs(figure["whole"][0] - figure["validation"][0]) <= TOLERANCE else "NOT within"
    lines.append(f"After one, the session on whole images is {verdict} {TOLERANCE} of the validation.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
