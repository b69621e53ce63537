"""A model folder that nnInteractive's official session opens. It doesn't need this package.

Reference: PyPI ``nninteractive`` (>= 2.5), ``nnInteractiveInferenceSession.initialize_from_trained_model_folder``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.model_folder import SESSION_NAMES
from nnunetv2_supervoxel.export.trained_model import TrainedModel
from nnunetv2_supervoxel.files.aside import check_name, folder_aside, make_folder
from nnunetv2_supervoxel.files.preprocessed import is_resampled
from nnunetv2_supervoxel.prompts.encoding import NUM_CHANNELS, POSITIVE_NEGATIVE, PREVIOUS_SEGMENTATION

NO_LICENSE = "unspecified (whoever exported this model named no licence)"
FOLD = "fold_0"  # whichever was trained: napari's plugin looks for this one only
ZOOM_MARGIN = 24  # voxels at each side of a patch that the session ignores when it refines after zooming out
SAME_SPACING = 1.25  # voxel sizes that differ from the training's by more than this factor are reported


def export_nninteractive(model: TrainedModel, folder: Path, license_text: str = NO_LICENSE) -> None:
    """Write plans, dataset.json, inference_info.json, LICENSE and the checkpoint.

    The folder appears when all of it is written.

    Args:
        model: what was trained.
        folder: to be made.
        license_text: of the weights; graphical clients show its first line.

    Raises:
        UserError: the folder exists and isn't empty, the model was trained without prompts, or nothing can be written.
    """
    info = inference_info(model)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already; name another folder with -o, or remove it first.")
    check_name(folder)
    make_folder(folder.parent)
    with folder_aside(folder.parent) as aside:
        aside.chmod(0o755)
        for name, content in (
            ("plans.json", model.plans),
            ("dataset.json", model.dataset_json),
            ("inference_info.json", info),
        ):
            (aside / name).write_text(json.dumps(content, indent=1) + "\n")
        (aside / "LICENSE").write_text(license_text.rstrip() + "\n")
        (aside / FOLD).mkdir()
        checkpoint = {
            "network_weights": model.weights,
            # A name that the session knows; it builds the network as nnU-Net does.
            "trainer_name": "nnInteractiveTrainer_stub",
            "init_args": {"configuration": model.configuration, "fold": model.fold},
            "inference_allowed_mirroring_axes": model.mirror_axes,
        }
        torch.save(checkpoint, aside / FOLD / "checkpoint_final.pth")
        if folder.exists():
            folder.rmdir()
        aside.rename(folder)


def inference_info(model: TrainedModel) -> dict:
    """What the session must know about interactions: which types were trained, and in which channels they are.

    Raises:
        UserError: the model was trained without prompts.
    """
    prompts = model.prompts
    if prompts is None:
        raise UserError(
            "This model was trained without prompts and can't answer any; export it as pretrained weights "
            "(--format nnunet or nnssl)."
        )
    trained = {name: prompts.interactions.get(kind, 0) > 0 for kind, name in SESSION_NAMES.items()}
    mapping = {name: list(POSITIVE_NEGATIVE[kind]) for kind, name in SESSION_NAMES.items()}
    return {
        "inference_class": "nnInteractiveInferenceSession",
        "inference_class_min_version": "2.5.0",
        "supported_interactions": {**trained, "bbox3d": False},
        # Later rounds of training see a previous segmentation; with a single round its channel was never used.
        "supports_initial_label": prompts.max_rounds > 1,
        "supports_zero_shot_label_refinement": prompts.max_rounds > 1,
        "interaction_channels": NUM_CHANNELS - 1,  # the session counts them without the previous segmentation
        "channel_mapping": {"prev_seg": PREVIOUS_SEGMENTATION, "bbox3d": mapping["bbox2d"], **mapping},
        "point_radius": prompts.point_radius,
        "preferred_scribble_thickness": [prompts.scribble_thickness] * 3,
        "interaction_decay": prompts.interaction_decay,
        "pad_mode_image": "constant",
    }


def license_of(model: TrainedModel, named: str | None) -> tuple[str, list[str]]:
    """The licence of an export, and what to say about it.

    Weights that were trained on from a model are under its licence, unless the user names another one.

    Args:
        model: what was trained.
        named: by the user.

    Raises:
        UserError: the start model names no licence, and the user doesn't either.
    """
    if model.start is None:
        unsaid = "no --license is given: whoever opens the model reads that its licence is unspecified."
        return (named, []) if named else (NO_LICENSE, [unsaid])
    origin, inherited = model.start["folder"], model.start["license"]
    if named is None and inherited is None:
        raise UserError(
            f"The model that the training started from, {origin}, names no licence; ask whoever made it what it "
            "allows, and give that as --license."
        )
    if named is None:
        return inherited, [f"the licence is that of the start model, {origin}: {inherited.splitlines()[0]}."]
    if inherited and named.split("\n")[0].strip() != inherited.splitlines()[0].strip():
        return named, [
            f"the start model, {origin}, is under {inherited.splitlines()[0]}; see to it that this allows "
            f"'{named.splitlines()[0]}'."
        ]
    return named, []


def differences_in_the_session(model: TrainedModel) -> list[str]:
    """How the session's images will differ from the training's, one sentence for each difference.

    The session z-scores an image by its first channel. It neither resamples nor transposes it.
    """
    manager = PlansManager(model.plans)
    configuration = manager.get_configuration(model.configuration)
    found = []
    schemes = set(configuration.normalization_schemes)
    if schemes != {"ZScoreNormalization"} or any(configuration.use_mask_for_norm):
        found.append(
            f"training normalised images by {', '.join(sorted(schemes))}, but the session z-scores every image as a "
            "whole, so intensities will differ. To avoid that, plan the dataset with a channel name such as 'MRI' in "
            "its dataset.json."
        )
    if model.image_channels > 1:
        found.append("the session normalises all channels with mean and deviation of the first one.")
    if list(manager.transpose_forward) != [0, 1, 2]:
        found.append(
            f"nnU-Net transposed the axes by {list(manager.transpose_forward)}, but the session doesn't, so the patch "
            f"{list(configuration.patch_size)} will lie along other axes. nnUNetv2_supervoxel_predict transposes them."
        )
    if not can_zoom(configuration.patch_size):
        found.append(
            f"the session's automatic zoom (nninteractive 2.6) fails with patches of {2 * ZOOM_MARGIN} voxels or fewer "
            f"along an axis. This model's patch is {list(configuration.patch_size)}: switch auto-zoom off in the "
            "client, and keep boxes, scribbles and lassos within two thirds of the patch, or they fail, too. "
            "nnUNetv2_supervoxel_predict predicts one patch around each prompt."
        )
    share = _share_resampled(manager, model)
    if share > 0.1:
        spacing = ", ".join(f"{size:.3g}" for size in configuration.spacing)
        found.append(
            f"nnU-Net resampled {share:.0%} of the training images noticeably, to voxels of {spacing} mm, but the "
            "session doesn't resample: resample images to that voxel size before you open them."
        )
    return found


def can_zoom(patch_size: Sequence[int]) -> bool:
    """Whether the session's automatic zoom works with this patch, which must be larger than the zoom's margins."""
    return min(patch_size) > 2 * ZOOM_MARGIN


def _share_resampled(manager: PlansManager, model: TrainedModel) -> float:
    """Share of the training images whose voxel size was changed by more than `SAME_SPACING` along at least one axis."""
    if not is_resampled(manager.get_configuration(model.configuration).configuration):
        return 0.0
    fingerprint = Path(nnUNet_preprocessed or "") / manager.dataset_name / "dataset_fingerprint.json"
    try:
        spacings: Sequence[Sequence[float]] = json.loads(fingerprint.read_text())["spacings"]
    except (OSError, ValueError, KeyError):
        return 0.0
    original = np.array(spacings)[:, list(manager.transpose_forward)]
    trained = np.array(manager.get_configuration(model.configuration).spacing)
    return float(np.mean(np.abs(np.log(original / trained)).max(axis=1) > np.log(SAME_SPACING)))
