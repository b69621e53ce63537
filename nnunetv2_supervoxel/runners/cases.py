"""A case to be done, and the cases of a dataset or folder. Nothing here decides which process does which case."""

from __future__ import annotations

import filecmp
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset

from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.errors import NotWritableError, UserError, check_cases
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.files.aside import check_writable, remove_leftovers
from nnunetv2_supervoxel.files.claims import CLAIM_TIMEOUT, claimed, folder_clock, is_claimed, remove_void_claims
from nnunetv2_supervoxel.files.failures import failure_since, failures, forget_failure, note_failure
from nnunetv2_supervoxel.files.image_folders import images_to_generate
from nnunetv2_supervoxel.files.preprocessed import PreprocessedDataset, read_preprocessed, read_spacing
from nnunetv2_supervoxel.files.volumes import Normalisation, Volume, read_image
from nnunetv2_supervoxel.generation.out_of_memory import free_memory
from nnunetv2_supervoxel.generation.pipeline import SupervoxelGenerator
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet
from nnunetv2_supervoxel.runners.reports import (
    CaseReport,
    Provenance,
    report_failed,
    report_failed_elsewhere,
    report_kept,
    report_killed,
    report_made,
)
from nnunetv2_supervoxel.runners.stopping import not_stopping_yet, stopping_again

TRIES = 3  # of a case whose runs die


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

    def written(self) -> float:
        """When its supervoxels were written, Unix time by the clock that dates the files.

        Raises:
            OSError: they aren't there.
        """
        return supervoxel_files.paths_of(self.target, self.name, self.ending)[0].stat().st_mtime

    def origin(self) -> Provenance:
        """What its provenance file says of where it comes from."""
        return {"case": self.name}

    def check_origin(self, before: Provenance) -> None:
        """Refuse supervoxels that are there, but of another image.

        Args:
            before: what their provenance file says.

        Raises:
            UserError: they are.
        """

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
        provenance = {**self.origin(), **made_by}
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
        spacing: (z, y, x) in mm, of images that were resampled to it.
        own_spacing: of others, the order in which preprocessing put their axes; None: they were resampled.
        normalised: how the channels to be read were normalised; None if one of them was by each image's own values.
    """

    folder: Path
    dataset_class: type[nnUNetBaseDataset]
    spacing: tuple[float, ...]
    own_spacing: tuple[int, ...] | None
    normalised: tuple[Normalisation, ...] | None

    def read(self) -> Volume:
        dataset = self.dataset_class(str(self.folder), [self.name])
        own = self.own_spacing
        spacing = self.spacing if own is None else read_spacing(dataset, self.name, own)
        return read_preprocessed(dataset, self.name, self.channels, spacing, self.normalised)


@dataclass(frozen=True, kw_only=True)
class ImageCase(Case):
    """An image in a folder.

    Attributes:
        path: of the image.
    """

    path: Path

    def read(self) -> Volume:
        return read_image(self.path, self.channels)

    def origin(self) -> Provenance:
        return {**super().origin(), "source": os.path.abspath(self.path)}

    def check_origin(self, before: Provenance) -> None:
        source = before.get("source", "")
        if source != os.path.abspath(self.path) and _are_two_images(source, self.path):
            raise UserError(
                f"its supervoxels in {self.target} were made from {source}; choose another folder with -o, or replace "
                "them with --overwrite."
            )


def _are_two_images(source: str, path: Path) -> bool:
    """Whether a recorded source is another image. Nobody can tell if it has gone; a copy is the same image."""
    try:
        return not os.path.samefile(source, path) and not filecmp.cmp(source, path)
    except OSError:
        return False


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
            own_spacing=dataset.own_spacing,
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


def share_of(
    cases: Sequence[Case], names: Sequence[str] | None = None, num_parts: int = 1, part_id: int = 0
) -> list[Case]:
    """What a run does of a dataset's or a folder's cases.

    Args:
        cases: all of them.
        names: those that are wanted; None: all.
        num_parts: the wanted ones are shared out among so many processes ...
        part_id: ... of which this is one, counting from 0.

    Raises:
        UserError: there is no case of a name.
    """
    known = {case.name for case in cases}
    check_cases(names or (), known, "to make supervoxels of")
    wanted = known if names is None else known.intersection(names)
    return [case for case in cases if case.name in wanted][part_id::num_parts]


@dataclass(frozen=True)
class Run:
    """How a run does its cases, whichever process does them.

    Attributes:
        overwrite: make supervoxels anew that are older than the run.
        claim_timeout: seconds without a sign of life after which another run's claim of a case is void.
        began: Unix time, by the clock that dates the files.
    """

    overwrite: bool = False
    claim_timeout: float = CLAIM_TIMEOUT
    began: float = 0.0

    def is_done(self, case: Case) -> bool:
        """Whether there is nothing left to do of a case."""
        return case.is_done() and (not self.overwrite or case.written() > self.began)

    def is_free(self, case: Case) -> bool:
        """Whether a case is to be done, and no other run does it now."""
        return not self.is_done(case) and not is_claimed(case.target, case.name, self.claim_timeout)


def begin_run(cases: Sequence[Case], overwrite: bool = False, claim_timeout: float = CLAIM_TIMEOUT) -> Run:
    """Before hours of work: try whether what is to be done can be written, and remove what killed runs left there.

    Void claims of what is to be done stay: they say how many runs died of a case.

    Args:
        cases: of one dataset or folder, whose supervoxels go into one folder.
        overwrite: existing supervoxels are made anew.
        claim_timeout: see `Run`.

    Raises:
        NotWritableError: nothing can be written where something is to be done.
    """
    began, by_name = time.time(), {case.name: case for case in cases}

    def is_over(name: str) -> bool:
        return not overwrite and name in by_name and by_name[name].is_done()

    for target in {case.target for case in cases}:
        remove_leftovers(target)
        remove_void_claims(target, claim_timeout, is_over)
        for name in filter(is_over, failures(target)):  # it couldn't be made anew, and nobody wants that any more
            forget_failure(target, name)
    if to_do := next((case for case in cases if overwrite or not case.is_done()), None):
        check_writable(to_do.target)
        began = folder_clock(to_do.target) if to_do.target.is_dir() else began
    return Run(overwrite, claim_timeout, began)


def do_case(
    case: Case,
    generator: SupervoxelGenerator,
    made_by: Provenance,
    run: Run,
    read: Callable[[Case], Volume] | None = None,
) -> CaseReport | None:
    """Make and write a case's supervoxels, unless they are there already. Its failure is reported, never raised.

    A signal that asks this process to end drops the case, unless its supervoxels are made and need only be written.

    Args:
        case: to be done.
        generator: models, loaded.
        made_by: the generator's provenance, which takes time to find out, and is the same for all cases.
        run: of which this is a part.
        read: gives the case's volume; None: `case.read()`.

    Returns:
        What became of it; None if another run does the case now.

    Raises:
        NotWritableError: nothing can be written to its target, so that no other case there would fare better.
    """
    report = _try_case(case, generator, made_by, run, read)
    if report and report.seconds:  # else nothing was used; collecting takes longer than to find that a case is there
        free_memory()
    return report


def _try_case(
    case: Case,
    generator: SupervoxelGenerator,
    made_by: Provenance,
    run: Run,
    read: Callable[[Case], Volume] | None,
) -> CaseReport | None:
    start = time.perf_counter()
    try:
        if run.is_done(case):
            return _kept(case, made_by)
        if not run.overwrite:
            case.check_target()
        case.check_names()
        with not_stopping_yet(), claimed(case.target, case.name, run.began, run.claim_timeout) as claim:
            if claim is None:
                return None
            if run.is_done(case):  # by another run, meanwhile
                return _kept(case, made_by)
            if reason := failure_since(case.target, case.name, run.began):
                return report_failed_elsewhere(case.name, reason)
            if claim.deaths >= TRIES:
                return give_up(case, f"{claim.deaths} runs")
            return _make(case, generator, made_by, read, start)
    except NotWritableError:
        raise
    except Exception as error:  # one bad case must not stop the others
        report = report_failed(case.name, error, time.perf_counter() - start)
        note_failure(case.target, case.name, report.message)
        return report


def _kept(case: Case, made_by: Provenance) -> CaseReport:
    """Of a case that is done. Where another image was done under its name, nothing is noted: that one is done."""
    before = case.read_provenance()
    try:
        case.check_origin(before)
    except UserError as error:
        return report_failed(case.name, error, 0.0)
    return report_kept(case.name, before, made_by)


def give_up(case: Case, who: str, last: str = "") -> CaseReport:
    """Note and report that those who did a case died of it, see `report_killed`."""
    report = report_killed(case.name, who, last)
    note_failure(case.target, case.name, report.message)
    return report


def _make(
    case: Case,
    generator: SupervoxelGenerator,
    made_by: Provenance,
    read: Callable[[Case], Volume] | None,
    start: float,
) -> CaseReport:
    with stopping_again():  # what is written, claimed and released is done as a whole
        volume = case.read() if read is None else read(case)
        supervoxels = generator(volume.array, volume.spacing, case.name, volume.normalised)
    case.write(supervoxels, volume, made_by)
    forget_failure(case.target, case.name)
    return report_made(case.name, supervoxels, time.perf_counter() - start)
