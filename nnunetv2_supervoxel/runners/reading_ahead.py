"""Reading the next case while one is worked on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from nnunetv2_supervoxel.files.volumes import Volume
from nnunetv2_supervoxel.generation.out_of_memory import free_memory, is_out_of_memory
from nnunetv2_supervoxel.runners.cases import Case


class Reader:
    """Gives the volume of a case. While that case is worked on, a thread reads the next case that is to be done.

    At most two volumes are in memory at a time.

    Args:
        cases: in the order in which they are worked on.
        is_to_do: whether somebody will ask for a case's volume.
    """

    def __init__(self, cases: Sequence[Case], is_to_do: Callable[[Case], bool]) -> None:
        self._cases = cases
        self._is_to_do = is_to_do
        self._thread = ThreadPoolExecutor(1)
        self._ahead: dict[Case, Future[Volume]] = {}

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)  # nobody wants the case that it may be reading

    def read(self, case: Case) -> Volume:
        """The case's volume. What goes wrong while reading ahead is raised here, at the case's turn."""
        ahead, self._ahead = self._ahead.pop(case, None), {}
        try:
            volume = case.read() if ahead is None else ahead.result()
        except Exception as error:
            if ahead is None or not is_out_of_memory(error):
                raise
            free_memory()
            volume = case.read()  # there may be room now that the case before is done
        following = self._cases[self._cases.index(case) + 1 :]
        if upcoming := next((other for other in following if self._is_to_do(other)), None):
            self._ahead[upcoming] = self._thread.submit(upcoming.read)
        return volume
