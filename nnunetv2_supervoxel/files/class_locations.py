"""Class locations of a whole folder, in several processes."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files.supervoxel_files import list_cases, rewrite_locations


def rewrite_folder(folder: Path, processes: int) -> tuple[int, dict[str, str]]:
    """Write the pickle of every array in `folder` anew.

    Returns:
        How many were written, and for every case that failed the reason.

    Raises:
        UserError: there is no such folder, or no array in it.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    cases = list_cases(folder)
    if not cases:
        raise UserError(f"{folder} holds no supervoxel array (.b2nd); generate supervoxels first.")
    failures: dict[str, str] = {}
    # Forking a process that has loaded PyTorch or blosc2 threads can deadlock, so workers start afresh.
    with ProcessPoolExecutor(min(processes, len(cases)), get_context("spawn")) as pool:
        futures = {case: pool.submit(rewrite_locations, folder, case) for case in cases}
        for case in tqdm(cases, desc="class locations", unit="case"):
            try:
                futures[case].result()
            except UserError as error:
                failures[case] = str(error)
            except Exception as error:  # one bad case must not stop the others
                failures[case] = f"unexpected {type(error).__name__}: {error}"
    return len(cases) - len(failures), failures
