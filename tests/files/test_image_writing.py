"""An image is written whole, or it is said that it isn't."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from nnunetv2_supervoxel.files.image_writing import write_sitk


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nifti_that_ends_in_the_middle_is_noticed(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk SimpleITK says nothing."""
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 2, (5, 7, 11), np.uint8))
    write_sitk(image, tmp_path / f"whole{ending}")
    write = sitk.WriteImage

    def write_half(image: sitk.Image, path: str, **settings: bool) -> None:
        write(image, path, **settings)
        Path(path).write_bytes(Path(path).read_bytes()[:-20])

    monkeypatch.setattr(sitk, "WriteImage", write_half)
    with pytest.raises(OSError, match="not all voxels were written"):
        write_sitk(image, tmp_path / f"half{ending}")
