"""Supervoxels painted over a slice of every case, as nnU-Net's own overlays show its labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import image as png
from nnunetv2.utilities.overlay_plots import color_cycle, generate_overlay, select_slice_to_plot2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from nnunetv2_supervoxel.errors import UserError, last_line
from nnunetv2_supervoxel.export.to_nifti import bring_all_back, read_case
from nnunetv2_supervoxel.files.aside import check_name, check_writable, file_aside, make_folder
from nnunetv2_supervoxel.files.nnunet_folders import environment_folder, read_plans
from nnunetv2_supervoxel.files.preprocessed import locate_dataset, open_case
from nnunetv2_supervoxel.files.supervoxel_folders import SupervoxelDataset
from nnunetv2_supervoxel.files.volumes import read_sitk
from nnunetv2_supervoxel.masks.flattening import flatten, largest_first, paint
from nnunetv2_supervoxel.progress import ProgressBar
from nnunetv2_supervoxel.quality.cases import attempt
from nnunetv2_supervoxel.quality.evaluation import evaluated

_LEAST_SIDE = 512  # pixels of a picture's longer side, about: a voxel each would be too small to judge
_COLOURS = len(color_cycle) - 1  # nnU-Net's first one is black, for the background


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        case: its identifier.
        plotted: whether there is a picture; without supervoxels there is none.
        error: why there is none otherwise.
    """

    case: str
    plotted: bool = False
    error: str = ""


@dataclass(frozen=True)
class _CaseToPlot:
    """A case, which can be sent to another process.

    Attributes:
        name: its identifier.
        found: its dataset.
        folder: for the picture.
        channel: of the image, from 0.
        originals: files of all channels, if the original image is shown.
        intensity: of the colours.
    """

    name: str
    found: SupervoxelDataset
    folder: Path
    channel: int
    originals: Sequence[str] | None
    intensity: float

    def evaluate(self) -> Outcome:
        """Write its picture."""
        return attempt(self._plot, self.failed)

    def failed(self, reason: str) -> Outcome:
        """What stands for the outcome if that isn't possible."""
        return Outcome(self.name, error=reason)

    def _plot(self) -> Outcome:
        path = self.folder / f"{self.name}.png"
        check_name(path)
        image, labels = self._read()
        if not labels.any():
            return Outcome(self.name)
        index = select_slice_to_plot2(labels, labels)  # of the image, the shape alone would count
        seen = np.unique(labels[index][labels[index] > 0])
        colours = {label: 1 + number % _COLOURS for number, label in enumerate(seen)}
        overlay = generate_overlay(image[self.channel, index], labels[index], colours, overlay_intensity=self.intensity)
        with file_aside(path) as aside:
            png.imsave(aside, _enlarged(overlay))
        return Outcome(self.name, plotted=True)

    def _read(self) -> tuple[np.ndarray, np.ndarray]:
        """The image (c, z, y, x), and the supervoxels as a label map (z, y, x) on its grid.

        Raises:
            UserError: files are missing or damaged, or don't fit each other.
        """
        found = self.found
        located = locate_dataset(found.name, found.plans, found.configuration)
        manager = PlansManager(read_plans(found.folder, found.plans, found.configuration))
        supervoxels, geometry = read_case(self.name, found, located, manager)
        if self.originals is None:
            return open_case(located.cases, self.name)[0], flatten(supervoxels)
        image = _read_original(self.originals, manager)
        if image.shape[1:] != geometry.shape:
            raise UserError(
                f"its image has shape {image.shape[1:]} now, but had {geometry.shape} when it was preprocessed; "
                "preprocess it again."
            )
        return image, paint(bring_all_back(supervoxels, geometry, largest_first(supervoxels), []), geometry.shape)


def plot_overlays(
    found: SupervoxelDataset,
    output: Path,
    channel: int = 0,
    raw: bool = False,
    intensity: float = 0.6,
    processes: int = 1,
) -> list[Outcome]:
    """Write ``CASE.png`` of every case: a slice along the first axis, the one where supervoxels have most of theirs.

    It is nnU-Net's choice for labels, and its painting. Where supervoxels overlap, the smaller one is seen. Every voxel
    is a square of as many pixels as give a longer side of 512 or more.

    Args:
        found: from `find_supervoxels`.
        output: folder, made if missing. Pictures that are there are replaced.
        channel: of the image, from 0.
        raw: show the original images of $nnUNet_raw; else the preprocessed ones.
        intensity: of the colours, from 0, the image alone, to 1.
        processes: how many cases at once.

    Raises:
        NotWritableError: there is no room in the folder, or writing isn't allowed.
        UserError: the dataset can't be read, or has no such channel. Never for a single case.
    """
    channels = len(locate_dataset(found.name, found.plans, found.configuration).normalised)
    if channel >= channels:
        raise UserError(f"{found.name} has {channels} image channel(s), counted from 0, so there is no {channel}.")
    originals = _raw_images(found.name) if raw else None
    make_folder(output)
    check_writable(output)
    cases = [
        _CaseToPlot(case, found, output, channel, None if originals is None else originals.get(case, []), intensity)
        for case in found.cases
    ]
    return list(ProgressBar(evaluated(cases, processes), "overlays", len(cases), unit="case"))


def _enlarged(picture: np.ndarray) -> np.ndarray:
    """Every pixel repeated in both directions, if that is needed for `_LEAST_SIDE`."""
    factor = math.ceil(_LEAST_SIDE / max(picture.shape[:2]))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _read_original(files: Sequence[str], manager: PlansManager) -> np.ndarray:
    """An image (c, z, y, x) as nnU-Net reads it.

    Raises:
        UserError: there is none, or it is damaged.
    """
    if not files:
        raise UserError("the raw dataset has no image of it in imagesTr; bring it back, or leave out --use_raw.")
    for file in files:
        read_sitk(Path(file))  # says if the file is damaged; nnU-Net's readers may give zeros for what is lost
    try:
        return manager.image_reader_writer_class().read_images(list(files))[0]
    except Exception as error:  # readers raise what the package behind them raises
        raise UserError(f"{files[0]} can't be read ({last_line(error)}); copy it again.") from error


def _raw_images(dataset: str) -> dict[str, list[str]]:
    """Files of all channels by case, as nnU-Net finds them.

    Raises:
        UserError: the raw dataset isn't there.
    """
    folder = environment_folder("nnUNet_raw") / dataset
    try:
        files = get_filenames_of_train_images_and_targets(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{folder} isn't a raw dataset that nnU-Net can read (dataset.json, imagesTr); bring it back, or leave out "
            "--use_raw."
        ) from error
    return {case: one["images"] for case, one in files.items()}
