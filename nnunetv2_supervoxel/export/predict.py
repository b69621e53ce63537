"""Prompted segmentation of whole folders with nnInteractive's official session."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch

from nnunetv2_supervoxel.errors import NotWritableError, UserError, did_you_mean
from nnunetv2_supervoxel.export.model_folder import SESSION_NAMES, checkpoint_of
from nnunetv2_supervoxel.export.nninteractive import can_zoom
from nnunetv2_supervoxel.export.prompt_drawing import common_axis, draw_on_slice, voxel_indices
from nnunetv2_supervoxel.export.prompt_file import DrawnPrompt, MaskPrompt, Prompt, PromptSource, Space
from nnunetv2_supervoxel.export.prompt_masks import read_mask
from nnunetv2_supervoxel.export.trained_model import load_checkpoint
from nnunetv2_supervoxel.files.aside import (
    check_name,
    check_writable,
    file_aside,
    folder_aside,
    make_folder,
    remove_leftovers,
)
from nnunetv2_supervoxel.files.image_folders import NNUNET_ENDINGS, check_apart, find_images
from nnunetv2_supervoxel.files.image_writing import write_sitk
from nnunetv2_supervoxel.files.preprocessed import count_image_channels
from nnunetv2_supervoxel.files.volumes import read_channels
from nnunetv2_supervoxel.generation.devices import usable_device
from nnunetv2_supervoxel.progress import ProgressBar
from nnunetv2_supervoxel.training.evaluation import central_voxel

if TYPE_CHECKING:
    from nnInteractive.inference.inference_session import nnInteractiveInferenceSession


def predict_folder(
    images: Path,
    output: Path,
    model: Path,
    wanted: PromptSource,
    device: str | None,
    tell: Callable[[str, str | None], object],
) -> None:
    """Segment every object that is wanted. Each is written to a file ``CASE_OBJECT.nii.gz`` of 0 and 1.

    Args:
        images: folder; for models with several image channels it holds CASE_0000, CASE_0001, ... as in nnU-Net.
        output: folder, made if missing.
        model: folder that nnInteractive's session opens.
        wanted: objects and their prompts.
        device: of PyTorch; None: CUDA where there is one, else the CPU.
        tell: gets each "CASE OBJECT" (or "CASE") as soon as it is through, and the reason if it couldn't be written.

    Raises:
        UserError: the folders or the model can't be used at all, or there is no room any more for masks.
    """
    check_apart(images, output, "Masks")
    found = find_images(images, NNUNET_ENDINGS)
    cases = wanted.list_cases(found)
    make_folder(output)
    check_writable(output)
    remove_leftovers(output)
    session = open_session(model, usable_device(device))
    channels = count_image_channels(session.dataset_json)
    with ProgressBar(total=wanted.total, desc="predict", unit="object") as progress:
        for case in cases:
            progress.set_postfix_str(case)
            objects: Mapping[str, Callable[[Path], list[Prompt]]] = {}
            try:
                objects = wanted.objects(case)
                volume = _read(case, found, channels, images) if objects else []
                if objects:
                    set_image(session, volume)
            except Exception as error:  # one bad case must not stop the others, whatever the session raises
                for name in [f"{case} {name}" for name in objects] or [case]:
                    tell(name, _reason(error))
                progress.update(len(objects))
                continue
            for name, give in objects.items():
                path = output / f"{case}_{name}.nii.gz"
                try:
                    check_name(path)
                    with folder_aside(output) as scratch:
                        mask = segment(session, volume[0], give(scratch), wanted.space)
                    _write(mask, volume[0], path)
                    tell(f"{case} {name}", None)
                except NotWritableError:
                    raise  # no other object would fare better
                except Exception as error:
                    tell(f"{case} {name}", _reason(error))
                progress.update()


def open_session(model: Path, device: torch.device) -> nnInteractiveInferenceSession:
    """The official session with a model folder loaded.

    Raises:
        UserError: nninteractive isn't installed, or the folder isn't a model that it can open.
    """
    try:
        from nnInteractive.inference.inference_session import nnInteractiveInferenceSession
    except ImportError as error:
        raise UserError("nnInteractive isn't installed; run 'pip install nninteractive'.") from error
    load_checkpoint(checkpoint_of(model))  # the session's own loading would run code from the file
    try:
        with _silence():
            session = nnInteractiveInferenceSession(device=device, torch_n_threads=os.cpu_count() or 1)
            session.initialize_from_trained_model_folder(str(model))
    except Exception as error:  # asserts, KeyErrors, and whatever else a wrong folder leads to
        raise UserError(f"nnInteractive can't open {model} ({_reason(error)}); export it again.") from error
    if not can_zoom(session.configuration_manager.patch_size):
        # The session's refinement after zooming out fails with patches that its margin covers.
        session.set_do_autozoom(False)
        session.MAX_AUTOZOOM_FACTOR = 1  # large prompts are zoomed out of anyway
    return session


def set_image(session: nnInteractiveInferenceSession, volume: list[sitk.Image]) -> None:
    """Give the session an image (one 3D image per channel), with its axes in the order of the training."""
    array = np.stack([sitk.GetArrayFromImage(channel) for channel in volume]).astype(np.float32)
    # nnU-Net's preprocessing did the same before training. It brings the axis with the largest voxels to the front.
    array = array.transpose(0, *(axis + 1 for axis in session.plans_manager.transpose_forward))
    with _silence():
        session.set_image(array)
        session.preprocess_future.result()  # otherwise an error in its thread would show only when Python exits


def segment(
    session: nnInteractiveInferenceSession, image: sitk.Image, prompts: list[Prompt], space: Space
) -> np.ndarray:
    """The mask of what prompts point at, uint8 (z, y, x).

    Args:
        session: with a model and this image.
        image: of the case; it has the geometry.
        prompts: in their order; the session predicts after each. A mask that others follow is what they correct; a
            mask alone is refined, with a click in its middle if the patch is too small for the session to zoom out.
        space: of their coordinates.

    Raises:
        UserError: a prompt has a position outside the image, points that don't lie on one slice, a mask that doesn't
            fit the image, or a type that was not trained. The message names the prompt. Nothing is predicted then.
    """
    forward = session.plans_manager.transpose_forward
    mask = np.zeros(np.array(image.GetSize())[::-1][forward], np.uint8)
    given = []
    for number, prompt in enumerate(prompts, 1):
        try:
            if prompt.type == "mask":
                given.append(_placed_mask(session, prompt, image, alone=len(prompts) == 1))
            else:
                given.append(_placed(session, prompt, image, space, forward, mask.shape))
        except UserError as error:
            raise UserError(f"prompt {number}, a {prompt.type}: {error}") from error
    np.random.seed(0)  # from here the session draws which patches it refines; the same prompts give the same mask
    with _silence():
        session.set_target_buffer(mask)
        session.reset_interactions()
        for give in given:
            give()
    return mask.transpose(session.plans_manager.transpose_backward)


def _placed(
    session: nnInteractiveInferenceSession,
    prompt: DrawnPrompt,
    image: sitk.Image,
    space: Space,
    forward: list[int],
    shape: tuple[int, ...],
) -> Callable[[], object]:
    """A function that gives a prompt to the session."""
    if not session.supported_interactions.get(SESSION_NAMES[prompt.type]):
        raise UserError(f"the model was not trained on prompts of type '{prompt.type}'")
    indices = voxel_indices(prompt.positions, space, image)[:, forward]
    if prompt.type == "point":
        return partial(session.add_point_interaction, tuple(int(index) for index in indices[0]), prompt.positive)
    if prompt.type == "box":
        common_axis(indices)
        corners = np.stack([indices.min(axis=0), indices.max(axis=0) + 1], axis=1)
        return partial(session.add_bbox_interaction, corners.tolist(), prompt.positive)
    drawn = draw_on_slice(prompt, indices, shape, session.preferred_scribble_thickness[0])
    add = session.add_scribble_interaction if prompt.type == "scribble" else session.add_lasso_interaction
    return partial(add, drawn, prompt.positive)


def _placed_mask(
    session: nnInteractiveInferenceSession, prompt: MaskPrompt, image: sitk.Image, alone: bool
) -> Callable[[], object]:
    """A function that gives a mask to the session, as what it predicted last. If the mask is alone, it is refined."""
    if not session.supports_initial_label:
        raise UserError("the model can't start from a mask; train one with max_rounds of 2 or more")
    mask = read_mask(prompt, image).transpose(session.plans_manager.transpose_forward)
    give = partial(session.add_initial_seg_interaction, np.ascontiguousarray(mask, np.uint8))
    if not alone:
        return give
    if session.do_autozoom:
        return partial(give, run_prediction=True)
    # The session refines a mask that is larger than a patch as it refines after zooming out, which fails here.
    if not session.supported_interactions.get(SESSION_NAMES["point"]):
        raise UserError("the model's patch is too small to refine a mask by itself; add prompts that it was trained on")
    click = partial(session.add_point_interaction, central_voxel(mask), True)
    return lambda: (give(), click())


def _read(case: str, found: dict[str, tuple[Path, str]], channels: int, folder: Path) -> list[sitk.Image]:
    """All channels of a case: CASE_0000, CASE_0001, ..., or just CASE."""
    names = [case] if channels == 1 and case in found else [f"{case}_{channel:04d}" for channel in range(channels)]
    if missing := [name for name in names if name not in found]:
        wanted = case if channels == 1 else missing[0]
        hint = did_you_mean(wanted, found) or "; correct the case's name, or give the folder that has it with -i"
        raise UserError(f"there is no image '{wanted}' in {folder}{hint}")
    return read_channels([found[name][0] for name in names])


def _reason(error: Exception) -> str:
    """An error in one line: the message of a `UserError`, anything else with the name of its class."""
    line = (str(error).splitlines() or [""])[0]
    return line if isinstance(error, UserError) else f"{type(error).__name__}: {line}"


def _write(mask: np.ndarray, image: sitk.Image, path: Path) -> None:
    result = sitk.GetImageFromArray(np.ascontiguousarray(mask))
    result.CopyInformation(image)
    with file_aside(path) as aside:
        write_sitk(result, aside)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep standard output quiet. The session reports every step there, which would break up the progress bar."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
