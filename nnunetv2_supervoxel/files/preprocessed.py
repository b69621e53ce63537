"""nnU-Net's preprocessed datasets: what their plans say, and their cases, read through nnU-Net's own classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class, nnUNetBaseDataset, nnUNetDatasetBlosc2

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files.blosc2_arrays import open_blosc2
from nnunetv2_supervoxel.files.class_locations import load_plain
from nnunetv2_supervoxel.files.nnunet_folders import data_identifier, dataset_folder, read_plans
from nnunetv2_supervoxel.files.planned import check_planned
from nnunetv2_supervoxel.files.volumes import NOT_NORMALISED, Normalisation, Volume, take_channels

_ENDINGS = (".b2nd", ".npz", ".npy", ".pkl")
NO_RESAMPLING = "no_resampling_hack"  # nnU-Net's function of this name hands images through as they are


@dataclass(frozen=True)
class PreprocessedDataset:
    """Where a dataset lies, and what its plans say.

    Attributes:
        folder: of the dataset, in $nnUNet_preprocessed.
        data_identifier: name of the folder in it that holds the preprocessed cases.
        cases: nnU-Net's own dataset of these.
        spacing: (z, y, x) in mm; the plans' median where images keep their own, see `spacing_of`.
        own_spacing: None where nnU-Net resampled all images to `spacing`; else the order in which preprocessing put the
            axes of an image, and so of its spacing.
        patch_size: (z, y, x) in voxels, or (y, x).
        normalised: how every channel was normalised; None where nnU-Net took each image's own values for it.
    """

    folder: Path
    data_identifier: str
    cases: nnUNetBaseDataset
    spacing: tuple[float, ...]
    own_spacing: tuple[int, ...] | None
    patch_size: tuple[int, ...]
    normalised: tuple[Normalisation | None, ...]

    def spacing_of(self, case: str) -> tuple[float, ...]:
        """(z, y, x) in mm of a case.

        Raises:
            UserError: images keep their own, and what nnU-Net noted of the case can't be read.
        """
        return self.spacing if self.own_spacing is None else read_spacing(self.cases, case, self.own_spacing)


def locate_dataset(dataset: str | int, plans: str, configuration: str) -> PreprocessedDataset:
    """Find a dataset by its ID or name.

    Raises:
        UserError: it isn't preprocessed with these plans and this configuration.
    """
    folder = dataset_folder(dataset)
    content = read_plans(folder, plans, configuration)
    identifier = data_identifier(content, configuration)
    planned = check_planned(content, configuration, folder / f"{plans}.json")
    intensities = planned.foreground_intensity_properties_per_channel
    return PreprocessedDataset(
        folder=folder,
        data_identifier=identifier,
        cases=open_preprocessed(folder / identifier),
        spacing=planned.spacing,
        own_spacing=None if is_resampled(planned.model_dump()) else planned.transpose_forward,
        patch_size=planned.patch_size,
        normalised=tuple(
            _normalisation(scheme, intensities.get(str(channel), {}))
            for channel, scheme in enumerate(planned.normalization_schemes)
        ),
    )


def is_resampled(settings: Mapping[str, Any]) -> bool:
    """Whether images were brought to the voxel size of a configuration.

    Args:
        settings: of the configuration, inheritance resolved.
    """
    return settings.get("resampling_fn_data") != NO_RESAMPLING


def open_preprocessed(folder: Path) -> nnUNetBaseDataset:
    """nnU-Net's own dataset object for a folder of preprocessed cases (blosc2, or the older npz).

    Raises:
        UserError: the folder is missing, empty, or holds other files too.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}; run nnUNetv2_plan_and_preprocess for this dataset first.")
    if not any(folder.iterdir()):
        raise UserError(f"{folder} is empty; run nnUNetv2_plan_and_preprocess for this dataset first.")
    try:
        dataset = infer_dataset_class(str(folder))(str(folder))
    except (AssertionError, KeyError, OSError) as error:
        foreign = sorted(path.name for path in folder.iterdir() if path.suffix not in _ENDINGS or not path.exists())
        raise UserError(
            f"{folder} isn't a folder of preprocessed cases that nnU-Net can read: it must hold .b2nd and .pkl files "
            f"only (or .npz and .pkl); remove what doesn't belong there{f', such as {foreign[0]}' if foreign else ''}."
        ) from error
    # macOS leaves hidden companions ("._case.b2nd") beside files that it copies; nnU-Net takes them for cases.
    dataset.identifiers = [case for case in dataset.identifiers if not case.startswith(".")]
    return dataset


def read_preprocessed(
    dataset: nnUNetBaseDataset,
    case: str,
    channels: Sequence[int],
    spacing: Sequence[float],
    normalised: tuple[Normalisation, ...] | None = None,
) -> Volume:
    """The image of one case of a preprocessed dataset. nnU-Net's pickle, which could run code, isn't opened.

    Args:
        dataset: from `open_preprocessed`.
        case: its identifier.
        channels: which image channels to take.
        spacing: voxel size (z, y, x) in mm after preprocessing, from the plans.
        normalised: how these channels were normalised, from the plans.

    Raises:
        UserError: the file is damaged, or has too few channels.
    """
    source = Path(dataset.source_folder) / case
    z, y, x = spacing
    with _naming_damage(source, "its image"):
        data = _open_image(dataset, case)
        if len(data.shape) != 4:
            raise UserError(f"{source} has an image of {len(data.shape)} dimensions, not four; preprocess it again.")
        return Volume(take_channels(data, channels, source), (z, y, x), source, normalised=normalised)


def open_case(dataset: nnUNetBaseDataset, case: str) -> tuple[Any, Any, dict[str, Any]]:
    """A case as nnU-Net stored it.

    Args:
        dataset: from `open_preprocessed`.
        case: its identifier.

    Returns:
        The image (c, z, y, x) and the segmentation (1, z, y, x), which aren't read yet, and nnU-Net's notes on what
        preprocessing did to the case.

    Raises:
        UserError: a file is missing or damaged.
    """
    with _naming_damage(Path(dataset.source_folder) / case, "a file"):
        image, segmentation, _, properties = dataset.load_case(case)
    if not isinstance(properties, dict):
        raise UserError(
            f"{dataset.source_folder}/{case}.pkl holds a {type(properties).__name__}, not what nnU-Net's preprocessing "
            "writes; preprocess the dataset again."
        )
    return image, segmentation, properties


def read_spacing(dataset: nnUNetBaseDataset, case: str, axes: Sequence[int]) -> tuple[float, ...]:
    """The voxel size (z, y, x) in mm of a case's image before nnU-Net's preprocessing. No code from its pickle is run.

    Args:
        dataset: from `open_preprocessed`.
        case: its identifier.
        axes: the order in which preprocessing put the image's axes.

    Raises:
        UserError: nnU-Net's notes on the case are missing or damaged.
    """
    path = Path(dataset.source_folder) / f"{case}.pkl"
    with _naming_damage(path.with_suffix(""), "its .pkl"):
        spacing = load_plain(path)["spacing"]
        return tuple(float(spacing[axis]) for axis in axes)


def read_shape(dataset: nnUNetBaseDataset, case: str) -> tuple[int, int, int]:
    """Shape (z, y, x) in voxels of a preprocessed case. nnU-Net's pickle isn't opened.

    Args:
        dataset: from `open_preprocessed`.
        case: its identifier.

    Raises:
        UserError: the file is missing or damaged.
    """
    with _naming_damage(Path(dataset.source_folder) / case, "its image"):
        _, z, y, x = _open_image(dataset, case).shape
    return z, y, x


@contextmanager
def _naming_damage(source: Path, what: str) -> Iterator[None]:
    """Turn whatever reading raises into a `UserError` that says which part of the case is damaged."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # blosc2, numpy and pickle each fail in their own way on damaged files
        raise UserError(
            f"{source} can't be read: {what} is missing or damaged; preprocess the dataset again."
        ) from error


def _open_image(dataset: nnUNetBaseDataset, case: str) -> Any:
    """The image (c, z, y, x) of a case, indexed lazily where its file allows that."""
    path = Path(dataset.source_folder) / case
    if isinstance(dataset, nnUNetDatasetBlosc2):
        return open_blosc2(Path(f"{path}.b2nd"))
    if Path(f"{path}.npy").is_file():
        return np.load(f"{path}.npy", mmap_mode="r")
    return np.load(f"{path}.npz")["data"]


def count_image_channels(dataset_json: dict) -> int:
    """Number of image channels that a dataset.json declares.

    Raises:
        UserError: it declares none.
    """
    names = dataset_json.get("channel_names") or dataset_json.get("modality")
    if not names or not isinstance(names, (dict, list)):
        raise UserError("The dataset.json names no image channels (channel_names); correct it.")
    return len(names)


def _normalisation(scheme: str, intensities: dict[str, float]) -> Normalisation | None:
    """What one of nnU-Net's normalisation schemes does to a channel whose foreground has these intensities."""
    if scheme == "CTNormalization" and {"mean", "std"} <= intensities.keys():
        return intensities["mean"], max(intensities["std"], 1e-8)
    return {"NoNormalization": NOT_NORMALISED, "RGBTo01Normalization": (0.0, 255.0)}.get(scheme)
