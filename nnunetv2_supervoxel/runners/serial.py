"""Many cases: whole datasets and folders, in parts, with one report a case and none that stops the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from tqdm import tqdm

from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.files.preprocessed import locate_dataset, read_preprocessed
from nnunetv2_supervoxel.files.volumes import Volume, find_images, read_image
from nnunetv2_supervoxel.generation.out_of_memory import free_memory, is_out_of_memory
from nnunetv2_supervoxel.generation.pipeline import SupervoxelGenerator
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet

# Settings that make no other supervoxels; of the checkpoints the weights count, not the name.
_WITHOUT_EFFECT = {
    "file_format",
    "excluded_strings",
    "points_per_batch",
    "objects_per_batch",
    "sam1_checkpoint",
    "sam2_checkpoint",
}


@dataclass(frozen=True)
class CaseReport:
    """What became of one case.

    Attributes:
        case: identifier.
        status: "made" now, "kept" from before, "empty" (nothing found, now or before), or "failed".
        supervoxels: how many there are.
        voxels: sum of their voxels.
        seconds: time spent now.
        message: why it failed or is empty, and anything odd; one sentence, or nothing.
        differing: settings with which it was made before, if they aren't those of now, by name.
    """

    case: str
    status: Literal["made", "kept", "empty", "failed"]
    supervoxels: int = 0
    voxels: int = 0
    seconds: float = 0.0
    message: str = ""
    differing: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Case:
    """A case to be done: how to read it, and in which format to write."""

    name: str
    read: Callable[[], Volume]
    ending: str = supervoxel_files.ARRAY_ENDING


def generate_dataset(
    dataset: str | int,
    config: GenerationConfig | None = None,
    *,
    plans: str = "nnUNetPlans",
    configuration: str = "3d_fullres",
    device: torch.device | str | None = None,
    num_parts: int = 1,
    part_id: int = 0,
    overwrite: bool = False,
    generator: SupervoxelGenerator | None = None,
) -> list[CaseReport]:
    """Make the supervoxels of every case of a preprocessed nnU-Net dataset, beside its preprocessed folder.

    Args:
        dataset: ID or name ("Dataset990_Demo").
        config: settings; ignored if `generator` is given.
        plans: name of the plans.
        configuration: name of the configuration, as for `nnUNetv2_train`.
        device: where the models run; ignored if `generator` is given.
        num_parts: share the cases out among so many processes ...
        part_id: ... of which this is one, counting from 0.
        overwrite: make existing supervoxels anew.
        generator: models that are loaded already.

    Raises:
        UserError: the dataset isn't preprocessed, or config, checkpoint or device are unfit. Never for a single case.
    """
    located = locate_dataset(dataset, plans, configuration)
    generator = generator or SupervoxelGenerator(config, device)
    target = supervoxel_files.supervoxel_folder(located.folder, located.data_identifier)
    channels = generator.config.channel
    cases = [
        _Case(name, partial(read_preprocessed, located.cases, name, channels, located.spacing))
        for name in sorted(located.cases.identifiers)
    ]
    return _generate(cases[part_id::num_parts], generator, target, overwrite, located.folder.name, located.patch_size)


def generate_folder(
    images: Path,
    output: Path,
    config: GenerationConfig | None = None,
    *,
    device: torch.device | str | None = None,
    num_parts: int = 1,
    part_id: int = 0,
    overwrite: bool = False,
    generator: SupervoxelGenerator | None = None,
) -> list[CaseReport]:
    """Make the supervoxels of every image in a folder.

    Args:
        images: folder; the config's `file_format` and `excluded_strings` say which of its files.
        output: folder, made if missing. Blosc2 arrays give triples as beside a dataset; other formats a 4D image in
            the input's format and geometry, one volume per supervoxel (NIfTI where the format can't hold 4D).
        config: settings; ignored if `generator` is given.
        device: where the models run; ignored if `generator` is given.
        num_parts: share the images out among so many processes ...
        part_id: ... of which this is one, counting from 0.
        overwrite: make existing supervoxels anew.
        generator: models that are loaded already.

    Raises:
        UserError: no image is found, they lie in `output`, or config, checkpoint or device are unfit. Never for a
            single image.
    """
    if images.resolve() == output.resolve():
        raise UserError(
            f"Supervoxels in {output} would replace the images there; choose another folder for the output."
        )
    config = generator.config if generator else config or GenerationConfig()
    paths = find_images(images, config.file_format, config.excluded_strings, "set file_format in the config")
    generator = generator or SupervoxelGenerator(config, device)

    cases = [
        _Case(name, partial(read_image, path, config.channel), supervoxel_files.writable_ending(ending))
        for name, (path, ending) in sorted(paths.items())
    ]
    return _generate(cases[part_id::num_parts], generator, output, overwrite, images.name)


def _generate(
    cases: Sequence[_Case],
    generator: SupervoxelGenerator,
    target: Path,
    overwrite: bool,
    title: str,
    patch_size: Sequence[int] = supervoxel_files.DEFAULT_PATCH_SIZE,
) -> list[CaseReport]:
    """Do the cases that are not done yet, one after the other."""

    def is_done(case: _Case) -> bool:
        return not overwrite and supervoxel_files.is_done(target, case.name, case.ending)

    reports, made_by = [], generator.provenance
    with _Reader(cases, is_done) as reader:
        for case in _with_progress(cases, title):
            start = time.perf_counter()
            try:
                if is_done(case):
                    report = _kept(target, case, made_by)
                else:
                    if not overwrite:
                        supervoxel_files.check_ours(target, case.name, case.ending)
                    volume = reader.read(case)
                    supervoxels = generator(volume.array, volume.spacing, case.name)
                    provenance = {"case": case.name, **made_by}
                    supervoxel_files.write_case(
                        target, case.name, supervoxels, provenance, patch_size, case.ending, volume.header
                    )
                    report = _made(case, supervoxels, time.perf_counter() - start)
            except Exception as error:  # one bad case must not stop the others
                report = CaseReport(case.name, "failed", seconds=time.perf_counter() - start, message=_reason(error))
            volume = supervoxels = None  # two cases at a time are enough: this one's successor is being read
            if report.message:
                tqdm.write(f"{case.name}: {report.status}: {report.message}")
            reports.append(report)
            free_memory()
    return reports


class _Reader:
    """Reads each case when it is asked for, and, while that one is worked on, the next one that is not done."""

    def __init__(self, cases: Sequence[_Case], is_done: Callable[[_Case], bool]) -> None:
        self._cases = cases
        self._is_done = is_done
        self._thread = ThreadPoolExecutor(1)
        self._ahead: dict[_Case, Future[Volume]] = {}

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def read(self, case: _Case) -> Volume:
        """The case's volume; whatever reading it raises is raised here, at its turn."""
        ahead, self._ahead = self._ahead.pop(case, None), {}
        try:
            volume = case.read() if ahead is None else ahead.result()
        except Exception as error:
            if ahead is None or not is_out_of_memory(error):
                raise
            free_memory()
            volume = case.read()  # there may be room now that the case before is done
        following = self._cases[self._cases.index(case) + 1 :]
        if upcoming := next((other for other in following if not self._is_done(other)), None):
            self._ahead[upcoming] = self._thread.submit(upcoming.read)
        return volume


def _made(case: _Case, supervoxels: SupervoxelSet, seconds: float) -> CaseReport:
    status = "made" if len(supervoxels) else "empty"
    return CaseReport(case.name, status, len(supervoxels), supervoxels.voxels, seconds, "; ".join(supervoxels.notes))


def _kept(target: Path, case: _Case, now: dict) -> CaseReport:
    known = supervoxel_files.read_provenance(target, case.name)
    voxels = sum(supervoxel["voxels"] for supervoxel in known["supervoxels"])
    status = "kept" if known["n"] else "empty"
    return CaseReport(case.name, status, known["n"], voxels, differing=tuple(_differing(known, now)))


def _differing(before: dict, now: dict) -> list[str]:
    """Settings that make other supervoxels now than when a case's were made; none for those made by other means."""
    if "config" not in before:
        return []
    try:  # in today's words: a setting that is newer had its default
        then = GenerationConfig(**before["config"]).model_dump(mode="json")
    except (ValueError, TypeError):
        then = before["config"]
    different = [key for key, value in now["config"].items() if key not in _WITHOUT_EFFECT and then.get(key) != value]
    for model, checkpoint in now["checkpoints"].items():
        if before.get("checkpoints", {}).get(model, {}).get("sha256") != checkpoint["sha256"]:
            different.append(f"{model}_checkpoint")
    return sorted(different)


def _with_progress(cases: Sequence[_Case], title: str) -> Iterable[_Case]:
    with tqdm(cases, desc=title, unit="case") as progress:
        for case in progress:
            progress.set_postfix_str(case.name)
            yield case


def _reason(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    if is_out_of_memory(error):
        return (
            "it doesn't fit into memory, not even with one object and one point at a time; "
            "use -device cpu, or a machine with more memory."
        )
    lines = str(error).splitlines() or [""]
    return f"unexpected {type(error).__name__}: {lines[0]} (please report this)"
