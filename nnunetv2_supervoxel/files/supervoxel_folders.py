"""Where a dataset's supervoxels lie, and which cases have some. This module imports nothing heavy, so that mistakes
show at once.
"""

from __future__ import annotations

from pathlib import Path

FOLDER_SUFFIX = "_supervoxels"
ARRAY_ENDING = ".b2nd"
PROVENANCE_ENDING = ".json"


def supervoxel_folder(preprocessed_dataset: Path | str, data_identifier: str) -> Path:
    """Where a dataset's supervoxels live: ``nnUNet_preprocessed/DatasetXXX_NAME/<data_identifier>_supervoxels``."""
    return Path(preprocessed_dataset) / f"{data_identifier}{FOLDER_SUFFIX}"


def list_cases(folder: Path | str) -> list[str]:
    """Identifiers, sorted, of the cases in `folder` that have at least one supervoxel (an array)."""
    return _stems(folder, ARRAY_ENDING)


def list_tried(folder: Path | str) -> list[str]:
    """Identifiers, sorted, of the cases in `folder` that have an array, or a JSON that may say why there is none."""
    return sorted({*_stems(folder, ARRAY_ENDING), *_stems(folder, PROVENANCE_ENDING)})


def _stems(folder: Path | str, ending: str) -> list[str]:
    paths = Path(folder).glob(f"*{ending}")
    return sorted(path.name.removesuffix(ending) for path in paths if not path.name.startswith("."))
