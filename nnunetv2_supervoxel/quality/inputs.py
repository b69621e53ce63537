"""What is evaluated: datasets, their cases, label maps. This module imports nothing heavy, so that mistakes show at
once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files.image_folders import NNUNET_ENDINGS
from nnunetv2_supervoxel.files.supervoxel_folders import SupervoxelDataset, find_supervoxels

LABEL_MAP_ENDINGS = ("_seg.b2nd", ".b2nd", *NNUNET_ENDINGS)  # "_seg": nnU-Net's own, beside the image's CASE.b2nd


@dataclass(frozen=True)
class LabelNames:
    """What a dataset.json says of labels.

    Attributes:
        names: by label.
        ignored: the label of voxels that nobody annotated, or None.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    ignored: int | None = None


@dataclass(frozen=True)
class EvaluatedDataset(SupervoxelDataset):
    """A dataset with supervoxels, and what they are compared with.

    Attributes:
        label_maps: of the cases that have one in the folder that was named; None: the dataset's own labels are taken.
        labels: what they are called.
    """

    label_maps: Mapping[str, Path] | None
    labels: LabelNames

    def output(self, wanted: Path | None) -> Path:
        """Folder for the results: the one that is wanted, or one beside the supervoxels.

        Raises:
            UserError: it is a file, or a folder that may hold nothing but cases.
        """
        folder = wanted or self.folder / f"{self.supervoxels.name}_evaluation"
        self.check_output(folder)
        return folder


def find_dataset(dataset: str | int, plans: str, configuration: str, labels: Path | None) -> EvaluatedDataset:
    """A dataset, which of its cases have supervoxels, and their label maps.

    Args:
        dataset: ID or name ("Dataset990_Demo").
        plans: their name.
        configuration: one that they have.
        labels: folder with a label map for every case, or for some; None: the dataset's own labels.

    Raises:
        UserError: there is no such dataset, it isn't preprocessed, none of its cases has supervoxels, or none has a
            label map in the folder.
    """
    found = find_supervoxels(dataset, plans, configuration)
    return EvaluatedDataset(
        **vars(found),
        label_maps=None if labels is None else _label_maps(labels, found.cases, found.name),
        labels=read_label_names(found.folder if labels is None else labels.absolute().parent),
    )


def read_label_names(folder: Path) -> LabelNames:
    """What the dataset.json in a folder says of labels; nothing, if there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / "dataset.json"
    if not path.is_file():
        return LabelNames()
    try:
        labels = json.loads(path.read_text())["labels"]
        ignored = labels.get("ignore")
        return LabelNames({label: name for name, label in labels.items() if isinstance(label, int)}, ignored)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} can't be read as nnU-Net's dataset.json; correct it.") from error


def _label_maps(folder: Path, cases: Sequence[str], dataset: str) -> dict[str, Path]:
    """By case the label map in a folder, of the cases that have one.

    Raises:
        UserError: there is no such folder, or none of the cases has one.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    found = {}
    for case in cases:
        paths = (folder / f"{case}{ending}" for ending in LABEL_MAP_ENDINGS)
        if path := next((path for path in paths if path.is_file()), None):
            found[case] = path
    if not found:
        raise UserError(
            f"{folder} holds no label map of a case of {dataset}, such as {cases[0]}{NNUNET_ENDINGS[0]} or "
            f"{cases[0]}{LABEL_MAP_ENDINGS[0]}; name another folder."
        )
    return found
