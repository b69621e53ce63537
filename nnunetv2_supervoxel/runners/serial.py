"""One case after the other, in this process."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from nnunetv2_supervoxel.generation.pipeline import SupervoxelGenerator
from nnunetv2_supervoxel.runners.base import SECONDS_BETWEEN_LOOKS, Runner, RunProgress, Tell
from nnunetv2_supervoxel.runners.cases import Case, Run, do_case
from nnunetv2_supervoxel.runners.reading_ahead import Reader
from nnunetv2_supervoxel.runners.reports import CaseReport
from nnunetv2_supervoxel.runners.stopping import not_stopping_yet, stop_if_asked


class SerialRunner(Runner):
    """Does one case after the other.

    Args:
        generator: models, loaded.
    """

    def __init__(self, generator: SupervoxelGenerator) -> None:
        self.config = generator.config
        self._generator = generator

    def run(self, cases: Sequence[Case], run: Run, title: str = "cases", tell: Tell | None = None) -> list[CaseReport]:
        made_by, waiting, held = self._generator.provenance, deque(cases), 0
        with Reader(cases, run.is_free) as reader, RunProgress(title, cases, tell) as progress:
            while waiting:
                case = waiting.popleft()
                progress.working_on(case.name)
                with not_stopping_yet():  # what is made is reported, too
                    report = do_case(case, self._generator, made_by, run, reader.read)
                    if report:
                        progress.add(report)
                        held = 0
                    else:
                        waiting.append(case)
                        held += 1
                stop_if_asked()
                if held and held >= len(waiting):
                    progress.working_on(f"waiting for {waiting[0].name}, which another run does")
                    time.sleep(SECONDS_BETWEEN_LOOKS)
        return progress.reports
