"""Which runner a command line asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.generation.pipeline import SupervoxelGenerator
from nnunetv2_supervoxel.runners.base import Runner
from nnunetv2_supervoxel.runners.serial import SerialRunner


@contextmanager
def chosen_runner(
    config: GenerationConfig, device: str | None = None, num_gpus: int = 1, dask: str | None = None
) -> Iterator[Runner]:
    """The runner for these flags. It has its models or workers until the end.

    Args:
        config: the settings of generation.
        device: where models run.
        num_gpus: so many processes on this machine.
        dask: a scheduler's address or file, or "local": one process per GPU of this machine.

    Raises:
        UserError: checkpoint, device, or cluster are missing or unfit, or Dask isn't installed.
    """
    if num_gpus == 1 and dask is None:
        yield SerialRunner(SupervoxelGenerator(config, device))
        return
    try:
        from nnunetv2_supervoxel.runners.dask_workers import connected, local_workers
    except ImportError as error:
        raise UserError(
            "Several workers need Dask: pip install 'nnunetv2-supervoxel[dask]' (or 'pip install distributed bokeh')."
        ) from error
    if dask in (None, "local"):
        workers = local_workers(num_gpus if dask is None else None, config, device)
    else:
        workers = connected(dask, config, device)
    with workers as runner:
        yield runner
