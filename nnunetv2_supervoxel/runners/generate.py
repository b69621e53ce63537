"""Whole datasets and folders: find the models and the cases, do this process's part of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.files.claims import CLAIM_TIMEOUT
from nnunetv2_supervoxel.files.preprocessed import locate_dataset
from nnunetv2_supervoxel.generation.pipeline import SupervoxelGenerator
from nnunetv2_supervoxel.runners.base import Runner, Tell
from nnunetv2_supervoxel.runners.cases import Case, Run, begin_run, dataset_cases, folder_cases, share_of
from nnunetv2_supervoxel.runners.reports import CaseReport
from nnunetv2_supervoxel.runners.serial import SerialRunner


@dataclass(frozen=True)
class Job:
    """What is to be done of a dataset or a folder. It is known to be there, and to be writable.

    Attributes:
        title: name of the dataset or folder.
        cases: this process's part of them.
        run: how they are done.
    """

    title: str
    cases: list[Case]
    run: Run

    def do(self, runner: Runner, tell: Tell | None) -> list[CaseReport]:
        """See `Runner.run`."""
        return runner.run(self.cases, self.run, self.title, tell)


@dataclass(frozen=True)
class Asked:
    """Which cases of a dataset or a folder are to be done, and how. The attributes are `generate_dataset`'s arguments.

    Attributes:
        names: of the cases to do; None: all.
        num_parts: share the cases out among so many processes ...
        part_id: ... of which this is one, counting from 0.
        overwrite: make existing supervoxels anew.
        claim_timeout: seconds without a sign of life after which another run's claim of a case is void.
    """

    names: Sequence[str] | None
    num_parts: int
    part_id: int
    overwrite: bool
    claim_timeout: float

    def of(self, title: str, cases: Sequence[Case]) -> Job:
        """The job, begun.

        Raises:
            UserError: there is no case of a name, or nothing can be written.
        """
        share = share_of(cases, self.names, self.num_parts, self.part_id)
        return Job(title, share, begin_run(share, self.overwrite, self.claim_timeout))


def dataset_job(dataset: str | int, config: GenerationConfig, plans: str, configuration: str, asked: Asked) -> Job:
    """What `generate_dataset` does; no models are needed to know it.

    Raises:
        UserError: the dataset isn't preprocessed or unfit for the config, there is no case of a name, or nothing can be
            written.
    """
    located = locate_dataset(dataset, plans, configuration)
    return asked.of(located.folder.name, dataset_cases(located, config))


def folder_job(images: Path, output: Path, config: GenerationConfig, asked: Asked) -> Job:
    """What `generate_folder` does; no models are needed to know it.

    Raises:
        UserError: no image is found, or none of a name, they lie in `output`, or nothing can be written there.
    """
    return asked.of(images.name, folder_cases(images, output, config))


def generate_dataset(
    dataset: str | int,
    config: GenerationConfig | None = None,
    *,
    plans: str = "nnUNetPlans",
    configuration: str = "3d_fullres",
    device: torch.device | str | None = None,
    names: Sequence[str] | None = None,
    num_parts: int = 1,
    part_id: int = 0,
    overwrite: bool = False,
    claim_timeout: float = CLAIM_TIMEOUT,
    runner: Runner | None = None,
    tell: Tell | None = None,
) -> list[CaseReport]:
    """Make the supervoxels of every case of a preprocessed nnU-Net dataset, beside its preprocessed folder.

    Args:
        dataset: ID or name ("Dataset990_Demo").
        config: settings; ignored if `runner` is given.
        plans: name of the plans.
        configuration: name of the configuration, as for `nnUNetv2_train`.
        device: where the models run; ignored if `runner` is given.
        names: of the cases to do; None: all.
        num_parts: share the cases out among so many processes ...
        part_id: ... of which this is one, counting from 0.
        overwrite: make existing supervoxels anew.
        claim_timeout: seconds without a sign of life after which another run's claim of a case is void.
        runner: who does the cases, with models that are loaded already; None: this process.
        tell: gets each case's report as soon as it is there.

    Raises:
        UserError: the dataset isn't preprocessed, there is no case of a name, nothing can be written (any more), or
            config, checkpoint or device are unfit. Never for a single case.
    """
    config = runner.config if runner else config or GenerationConfig()
    asked = Asked(names, num_parts, part_id, overwrite, claim_timeout)
    job = dataset_job(dataset, config, plans, configuration, asked)
    return job.do(runner or SerialRunner(SupervoxelGenerator(config, device)), tell)


def generate_folder(
    images: Path | str,
    output: Path | str,
    config: GenerationConfig | None = None,
    *,
    device: torch.device | str | None = None,
    names: Sequence[str] | None = None,
    num_parts: int = 1,
    part_id: int = 0,
    overwrite: bool = False,
    claim_timeout: float = CLAIM_TIMEOUT,
    runner: Runner | None = None,
    tell: Tell | None = None,
) -> list[CaseReport]:
    """Make the supervoxels of every image in a folder.

    Args:
        images: folder; the config's `file_format` and `excluded_strings` say which of its files.
        output: folder, made if missing. Blosc2 arrays give triples as beside a dataset; other formats a 4D image in
            the input's format and geometry, one volume per supervoxel (NIfTI where the format can't hold 4D).
        config: settings; ignored if `runner` is given.
        device: where the models run; ignored if `runner` is given.
        names: of the images to do, without endings; None: all.
        num_parts: share the images out among so many processes ...
        part_id: ... of which this is one, counting from 0.
        overwrite: make existing supervoxels anew.
        claim_timeout: seconds without a sign of life after which another run's claim of a case is void.
        runner: who does the cases, with models that are loaded already; None: this process.
        tell: gets each case's report as soon as it is there.

    Raises:
        UserError: no image is found, or none of a name, they lie in `output`, nothing can be written there (any more),
            or config, checkpoint or device are unfit. Never for a single image.
    """
    config = runner.config if runner else config or GenerationConfig()
    job = folder_job(Path(images), Path(output), config, Asked(names, num_parts, part_id, overwrite, claim_timeout))
    return job.do(runner or SerialRunner(SupervoxelGenerator(config, device)), tell)
