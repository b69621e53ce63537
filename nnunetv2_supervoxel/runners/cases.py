"""A case to be done, and the cases of a dataset or folder. Nothing here decides which process does which case."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset

from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.errors import NotWritableError, UserError
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.files.aside import check_writable, remove_leftovers
from nnunetv2_supervoxel.files.image_folders import images_to_generate
from nnunetv2_supervoxel.files.preprocessed import PreprocessedDataset, read_preprocessed
from nnunetv2_supervoxel.files.volumes import Normalisation, Volume, read_image
from nnunetv2_supervoxel.generation.pipeline import SupervoxelGenerator
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet
from nnunetv2_supervoxel.runners.reports import CaseReport, Provenance, report_failed, report_kept, report_made
from nnunetv2_supervoxel.runners.stopping import not_stopping_yet


@dataclass(frozen=True, kw_only=True)
class Case:
    """Where a case is read from, and where and in which format its supervoxels are written.

    It holds plain values, no open files and no models, so it can be sent to another process or machine.

    Attributes:
        name: identifier.
        channels: which image channels to read.
        target: folder for the supervoxels.
        ending: of the file with the masks, see `supervoxel_files.writable_ending`.
        patch_size: training patch (z, y, x) in voxels, or (y, x).
    """

    name: str
    channels: tuple[int, ...]
    target: Path
    ending: str = supervoxel_files.ARRAY_ENDING
    patch_size: tuple[int, ...] = supervoxel_files.DEFAULT_PATCH_SIZE

    def read(self) -> Volume:
        """The image.

        Raises:
            UserError: the file is missing or damaged, or has too few channels.
        """
        raise NotImplementedError

    def is_done(self) -> bool:
        """Whether its supervoxels are there already, or it is known that there are none."""
        return supervoxel_files.is_done(self.target, self.name, self.ending)

    def check_names(self) -> None:
        """Refuse a name that its files can't have.

        Raises:
            UserError: it is too long.
        """
        supervoxel_files.check_names(self.target, self.name, self.ending)

    def check_target(self) -> None:
        """Refuse to take the place of files that generation didn't write.

        Raises:
            UserError: there are some.
        """
        supervoxel_files.check_ours(self.target, self.name, self.ending)

    def write(self, supervoxels: SupervoxelSet, volume: Volume, made_by: Provenance) -> None:
        """Write the files, see `supervoxel_files.write_case`.

        Args:
            supervoxels: to write.
            volume: what they were made of.
            made_by: the generator's provenance.
        """
        provenance = {"case": self.name, **made_by}
        supervoxel_files.write_case(
            self.target, self.name, supervoxels, provenance, self.patch_size, self.ending, volume.header
        )

    def read_provenance(self) -> Provenance:
        """What the files say of how the supervoxels were made.

        Raises:
            UserError: there are no such files.
        """
        return supervoxel_files.read_provenance(self.target, self.name)


@dataclass(frozen=True, kw_only=True)
class PreprocessedCase(Case):
    """A case of a preprocessed dataset.

    Attributes:
        folder: of the preprocessed cases.
        dataset_class: nnU-Net's class for the files in it.
        spacing: (z, y, x) in mm.
        normalised: how the channels to be read were normalised; None if one of them was by each image's own values.
    """

    folder: Path
    dataset_class: type[nnUNetBaseDataset]
    spacing: tuple[float, ...]
    normalised: tuple[Normalisation, ...] | None

    def read(self) -> Volume:
        dataset = self.dataset_class(str(self.folder), [self.name])
        return read_preprocessed(dataset, self.name, self.channels, self.spacing, self.normalised)


@dataclass(frozen=True, kw_only=True)
class ImageCase(Case):
    """An image in a folder.

    Attributes:
        path: of the image.
    """

    path: Path

    def read(self) -> Volume:
        return read_image(self.path, self.channels)


def dataset_cases(dataset: PreprocessedDataset, config: GenerationConfig) -> list[Case]:
    """The cases of a preprocessed dataset, sorted by name.

    Args:
        dataset: from `locate_dataset`.
        config: its `channel` says what to read.

    Raises:
        UserError: there is no such channel, or the config's windows can't be applied to what nnU-Net stored.
    """
    if max(config.channel) >= len(dataset.normalised):
        raise UserError(
            f"{dataset.folder.name} has {len(dataset.normalised)} channel(s), so channel {max(config.channel)} of the "
            "config doesn't exist (counting starts at 0)."
        )
    known = tuple(scheme for channel in config.channel if (scheme := dataset.normalised[channel]))
    normalised = known if len(known) == len(config.channel) else None
    if config.windows and normalised is None:
        raise UserError(
            f"'windows' of the config are in the images' own units, which {dataset.folder.name} has lost: nnU-Net "
            "normalised every image by its own values. Use 'intensity_percentiles' instead."
        )
    target = supervoxel_files.supervoxel_folder(dataset.folder, dataset.data_identifier)
    return [
        PreprocessedCase(
            name=name,
            channels=config.channel,
            target=target,
            patch_size=dataset.patch_size,
            folder=dataset.folder / dataset.data_identifier,
            dataset_class=type(dataset.cases),
            spacing=dataset.spacing,
            normalised=normalised,
        )
        for name in sorted(dataset.cases.identifiers)
    ]


def folder_cases(images: Path, output: Path, config: GenerationConfig) -> list[Case]:
    """The images in a folder, sorted by name.

    Args:
        images: folder.
        output: folder for the supervoxels, made when there are some.
        config: its `file_format` and `excluded_strings` say which files are images, its `channel` what to read.

    Raises:
        UserError: both folders are the same, or there are no images.
    """
    paths = images_to_generate(images, output, config)
    return [
        ImageCase(
            name=name,
            channels=config.channel,
            target=output,
            ending=supervoxel_files.writable_ending(ending),
            path=path,
        )
        for name, (path, ending) in sorted(paths.items())
    ]


def prepare_targets(cases: Sequence[Case], overwrite: bool) -> None:
    """Before hours of work: try whether what is to be done can be written, and remove what killed runs left there.

    Args:
        cases: of one dataset or folder, whose supervoxels go into one folder.
        overwrite: existing supervoxels are made anew.

    Raises:
        NotWritableError: nothing can be written where something is to be done.
    """
    for target in {case.target for case in cases}:
        remove_leftovers(target)
    if to_do := next((case for case in cases if overwrite or not case.is_done()), None):
        check_writable(to_do.target)


def do_case(
    case: Case,
    generator: SupervoxelGenerator,
    made_by: Provenance,
    overwrite: bool = False,
    read: Callable[[Case], Volume] | None = None,
) -> CaseReport:
    """Make and write a case's supervoxels, unless they are there already. Its failure is reported, never raised.

    A signal that asks this process to end drops the case, unless its supervoxels are made and need only be written.

    Args:
        case: to be done.
        generator: models, loaded.
        made_by: the generator's provenance, which takes time to find out, and is the same for all cases.
        overwrite: make existing supervoxels anew.
        read: gives the case's volume; None: `case.read()`.

    Raises:
        NotWritableError: nothing can be written to its target, so that no other case there would fare better.
    """
    start = time.perf_counter()
    try:
        if not overwrite:
            if case.is_done():
                return report_kept(case.name, case.read_provenance(), made_by)
            case.check_target()
        case.check_names()
        volume = case.read() if read is None else read(case)
        supervoxels = generator(volume.array, volume.spacing, case.name, volume.normalised)
        with not_stopping_yet():  # what took so long to make
            case.write(supervoxels, volume, made_by)
        return report_made(case.name, supervoxels, time.perf_counter() - start)
    except NotWritableError:
        raise
    except Exception as error:  # one bad case must not stop the others
        return report_failed(case.name, error, time.perf_counter() - start)
