"""Many processes, on one machine or on many: the workers of a Dask cluster do the cases.

Every worker does one case at a time, with models that it loads once, just as `SerialRunner` does it. A worker that dies
has its case done by another.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import dask
import torch
from distributed import Client, Future, KilledWorker, LocalCluster, as_completed, get_worker

from nnunetv2_supervoxel.checkpoints.registry import BUNDLED, OFFICIAL_CHECKPOINTS
from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.errors import UserError, last_line
from nnunetv2_supervoxel.files.aside import remove_leftovers
from nnunetv2_supervoxel.files.claims import remove_claim, remove_void_claims
from nnunetv2_supervoxel.generation.pipeline import SupervoxelGenerator
from nnunetv2_supervoxel.runners.base import SECONDS_BETWEEN_LOOKS, Runner, RunProgress, Tell
from nnunetv2_supervoxel.runners.cases import TRIES, Case, Run, do_case, give_up
from nnunetv2_supervoxel.runners.reports import CaseReport, Provenance
from nnunetv2_supervoxel.runners.stopping import not_stopping_yet, stop_if_asked
from nnunetv2_supervoxel.threads_and_heap import share_machine

SECONDS_TO_CONNECT = 30

_ONE_CASE = threading.Lock()  # at a time, also if a worker has several threads


class DaskRunner(Runner):
    """Has the workers of a Dask cluster do the cases. They must see the same files under the same paths.

    Args:
        client: connected to the cluster.
        config: the settings of generation.
        device: of the workers, see `worker_device`.
        targets: gets the folders to which the workers write, and after how many seconds claims there are void.
    """

    def __init__(
        self,
        client: Client,
        config: GenerationConfig,
        device: str | None = None,
        targets: dict[Path, float] | None = None,
    ) -> None:
        self.config = config
        self._settings = with_absolute_checkpoints(config).model_dump_json()
        self._client = client
        self._device = device
        self._targets = targets if targets is not None else {}

    def run(self, cases: Sequence[Case], run: Run, title: str = "cases", tell: Tell | None = None) -> list[CaseReport]:
        self._targets |= {case.target: run.claim_timeout for case in cases}
        running = {self._submit(case, run): case for case in cases}
        done, held = as_completed(running), []
        try:
            with RunProgress(title, cases, tell) as progress:
                for future in done:
                    case = running.pop(future)
                    with not_stopping_yet():  # what is made is reported, too
                        if report := self._report(case, future):
                            progress.add(report)
                        else:  # another run does it now
                            held.append(case)
                    stop_if_asked()
                    if held and (report or not running):
                        if not report:
                            progress.working_on(f"waiting for {held[0].name}, which another run does")
                            time.sleep(SECONDS_BETWEEN_LOOKS)
                        again = {self._submit(case, run): case for case in held}
                        running |= again
                        done.update(again)
                        held.clear()
            return progress.reports
        finally:
            self._client.cancel(list(running), force=True)

    def _submit(self, case: Case, run: Run) -> Future:
        return self._client.submit(_do, with_absolute_paths(case), self._settings, self._device, run, pure=False)

    def _report(self, case: Case, future: Future) -> CaseReport | None:
        """What a worker returned. Its errors are raised here, unless they are about this case."""
        try:
            if future.status in ("cancelled", "lost"):
                raise UserError("The Dask scheduler is gone; give the same command again when there is one.")
            outcome = future.result()
            if isinstance(outcome, UserError):
                raise outcome
            return outcome
        except KilledWorker as error:
            report = give_up(case, f"{TRIES} workers", error.last_worker.address)
            remove_claim(case.target, case.name)  # so that the next run tries afresh
            return report
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"The Dask workers lack what this process has ({last_line(error)}); start them in the same environment."
            ) from error


@contextmanager
def connected(where: str, config: GenerationConfig, device: str | None) -> Iterator[DaskRunner]:
    """A runner on a cluster that somebody else has started. The cluster stays.

    Args:
        where: the scheduler's address, or the path of its file.
        config: the settings of generation.
        device: see `worker_device`.

    Raises:
        UserError: there is no such scheduler.
    """
    is_address = "://" in where or re.fullmatch(r"[^/]+:\d+", where)
    if not is_address and not Path(where).is_file():
        raise UserError(
            f"--dask: there is no scheduler file {where}; give the path that 'dask scheduler --scheduler-file' wrote, "
            "the scheduler's address (tcp://host:8786), or 'local'."
        )
    try:
        place = {"address": where} if is_address else {"scheduler_file": where}
        client = Client(**place, timeout=SECONDS_TO_CONNECT)
    except Exception as error:  # Dask fails in many ways on what is no scheduler
        raise UserError(
            f"--dask: no Dask scheduler answers at {where} ({last_line(error)}); start one with 'dask scheduler'."
        ) from error
    with client:
        _introduce(client)
        yield DaskRunner(client, config, device)


@contextmanager
def local_workers(number: int | None, config: GenerationConfig, device: str | None) -> Iterator[DaskRunner]:
    """A runner on workers of this machine, which end with it.

    Args:
        number: of workers; None: one per GPU, and one where there is none.
        config: the settings of generation.
        device: "cpu", or None or "cuda": a GPU for every worker.

    Raises:
        UserError: there are fewer GPUs.
    """
    gpus = torch.cuda.device_count()
    if number and device != "cpu" and number > gpus:
        raise UserError(
            f"-num_gpus {number}: this machine has {gpus} GPU(s) that PyTorch can use; say {gpus or 1}, "
            f"or '-device cpu -num_gpus {number}' for {number} processes on the CPU."
        )
    workers = number or max(1, gpus)
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // workers))
    targets: dict[Path, float] = {}
    settings = {
        "distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": threads},
        "distributed.scheduler.allowed-failures": TRIES - 1,
    }
    try:
        with (
            dask.config.set(settings),
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=0,
                dashboard_address=":0",
                silence_logs=logging.CRITICAL,  # a worker whose heartbeat meets the end logs a traceback
            ) as cluster,
            Client(cluster) as client,
        ):
            _introduce(client)
            yield DaskRunner(client, config, device, targets)
    finally:
        for target, timeout in targets.items():  # what workers had in hand when they were told to end
            remove_leftovers(target)
            remove_void_claims(target, timeout)


def with_absolute_paths(case: Case) -> Case:
    """The same case for a process that works in another folder."""
    values = {field.name: getattr(case, field.name) for field in fields(case)}
    absolute: dict[str, Any] = {key: value.absolute() for key, value in values.items() if isinstance(value, Path)}
    return replace(case, **absolute)


def with_absolute_checkpoints(config: GenerationConfig) -> GenerationConfig:
    """The same settings for a process that works in another folder. Names of known checkpoints stay."""
    named = {"sam1_checkpoint": config.sam1_checkpoint, "sam2_checkpoint": config.sam2_checkpoint}
    names = {*OFFICIAL_CHECKPOINTS["sam"], *OFFICIAL_CHECKPOINTS["sam2"], BUNDLED}
    paths = {key: Path(name).expanduser() for key, name in named.items() if name and name not in names}
    return config.model_copy(update={key: str(path.absolute()) for key, path in paths.items()})


def worker_device(device: str | None, worker_name: object, gpus: int) -> str | None:
    """The device of a worker: where a process sees several GPUs, the number at the end of its worker's name counts.

    Args:
        device: what the user said; None: CUDA where there is any.
        worker_name: 0, 1, ... in a local cluster; "NAME-0", "NAME-1", ... by 'dask worker --nworkers 8 --name NAME'.
        gpus: that the process sees.
    """
    number = re.search(r"\d+$", str(worker_name))
    if device not in (None, "cuda") or not number or gpus < 2:
        return device
    return f"cuda:{int(number[0]) % gpus}"


def _introduce(client: Client) -> None:
    workers = len(client.scheduler_info(n_workers=-1)["workers"])
    print(f"Dask: {workers} workers at {client.scheduler.address}, dashboard {client.dashboard_link}", flush=True)


def _do(case: Case, settings: str, device: str | None, run: Run) -> CaseReport | UserError | None:
    """On a worker: do a case. None if another run does it now; an error, which Dask would log, if none can be done."""
    with _ONE_CASE:
        try:
            device = worker_device(device, get_worker().name, torch.cuda.device_count())
            return do_case(case, *_generator(settings, device), run)
        except UserError as error:
            return error


@lru_cache(maxsize=1)
def _generator(settings: str, device: str | None) -> tuple[SupervoxelGenerator, Provenance]:
    share_machine()
    generator = SupervoxelGenerator(GenerationConfig.model_validate_json(settings), device)
    return generator, generator.provenance
