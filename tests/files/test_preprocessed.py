"""nnU-Net's preprocessed datasets."""

from pathlib import Path

import numpy as np
import pytest

from nnunetv2_supervoxel import UserError
from nnunetv2_supervoxel.files.preprocessed import open_preprocessed, read_preprocessed

SHAPE = (5, 7, 11)


def test_npz_cases_of_older_nnunet_are_read(tmp_path: Path) -> None:
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetNumpy

    data = np.arange(2 * np.prod(SHAPE), dtype=np.float32).reshape(2, *SHAPE)
    nnUNetDatasetNumpy.save_case(data, np.zeros((1, *SHAPE), np.int16), {}, str(tmp_path / "case"))
    dataset = open_preprocessed(tmp_path)
    volume = read_preprocessed(dataset, "case", (1,), (3.0, 1.0, 1.0))
    np.testing.assert_array_equal(volume.array[0], data[1])
    assert volume.spacing == (3.0, 1.0, 1.0)


def test_what_is_no_preprocessed_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nnUNetv2_plan_and_preprocess"):
        open_preprocessed(tmp_path / "missing")
    with pytest.raises(UserError, match="is empty"):
        open_preprocessed(tmp_path)
    (tmp_path / "a.b2nd").touch()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="remove what doesn't belong"):
        open_preprocessed(tmp_path)
