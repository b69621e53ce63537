"""nnU-Net's preprocessed datasets."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2, nnUNetDatasetNumpy

from nnunetv2_supervoxel import GenerationConfig, UserError
from nnunetv2_supervoxel.files.preprocessed import locate_dataset, open_preprocessed, read_preprocessed
from nnunetv2_supervoxel.runners.cases import dataset_cases

SHAPE = (5, 7, 11)


def test_npz_cases_of_older_nnunet_are_read(tmp_path: Path) -> None:
    data = np.arange(2 * np.prod(SHAPE), dtype=np.float32).reshape(2, *SHAPE)
    nnUNetDatasetNumpy.save_case(data, np.zeros((1, *SHAPE), np.int16), {}, str(tmp_path / "case"))
    dataset = open_preprocessed(tmp_path)
    volume = read_preprocessed(dataset, "case", (1,), (3.0, 1.0, 1.0))
    np.testing.assert_array_equal(volume.array[0], data[1])
    assert volume.spacing == (3.0, 1.0, 1.0)


@pytest.mark.parametrize("kind", ["npz", "npy", "b2nd"])
def test_generation_runs_no_code_from_nnunets_pickle(kind: str, tmp_path: Path) -> None:
    data = np.arange(2 * np.prod(SHAPE), dtype=np.float32).reshape(2, *SHAPE)
    if kind == "b2nd":
        nnUNetDatasetBlosc2.save_case(data, np.zeros((1, *SHAPE), np.int16), {}, str(tmp_path / "case"))
    else:
        nnUNetDatasetNumpy.save_case(data, np.zeros((1, *SHAPE), np.int16), {}, str(tmp_path / "case"))
    if kind == "npy":  # as nnU-Net unpacks it
        np.save(tmp_path / "case.npy", data)
    (tmp_path / "case.pkl").write_bytes(pickle.dumps(Touches(tmp_path / "touched")))
    volume = read_preprocessed(open_preprocessed(tmp_path), "case", (1, 0), (3.0, 1.0, 1.0))
    np.testing.assert_array_equal(volume.array, data[::-1])
    assert not (tmp_path / "touched").exists()


class Touches:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_companions_of_macos_are_no_cases(tmp_path: Path) -> None:
    for name in ("case.b2nd", "case_seg.b2nd", "case.pkl", "._case.b2nd", "._case_seg.b2nd", "._case.pkl"):
        (tmp_path / name).touch()
    assert open_preprocessed(tmp_path).identifiers == ["case"]


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_damaged_image_is_one_plain_sentence(content: bytes | None, tmp_path: Path) -> None:
    for name in ("case.b2nd", "other.b2nd", "case.pkl"):
        (tmp_path / name).write_bytes(content or b"")
    dataset = open_preprocessed(tmp_path)
    if content is None:
        (tmp_path / "case.b2nd").unlink()
    with pytest.raises(UserError) as told:
        read_preprocessed(dataset, "case", (0,), (3.0, 1.0, 1.0))
    assert str(told.value) == (
        f"{tmp_path}/case can't be read: its image is missing or damaged; preprocess the dataset again."
    )


def test_what_is_no_preprocessed_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nnUNetv2_plan_and_preprocess"):
        open_preprocessed(tmp_path / "missing")
    with pytest.raises(UserError, match="is empty"):
        open_preprocessed(tmp_path)
    (tmp_path / "a.b2nd").touch()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="remove what doesn't belong"):
        open_preprocessed(tmp_path)


def test_images_that_keep_their_voxel_size(prepared):
    """Generation sees each image's own, also through a case of it; a pickle with code in it is not run."""
    located = locate_dataset(995, "nnUNetPlans_nninteractive", "3d_fullres")
    assert located.spacing_of("other") == pytest.approx((3.0, 0.9, 0.8))
    assert located.spacing_of("another") == pytest.approx((1.5, 1.5, 1.5))
    cases = {case.name: case for case in dataset_cases(located, GenerationConfig())}
    assert cases["other"].read().spacing == pytest.approx((3.0, 0.9, 0.8))
    pickled = prepared / "nnUNetPlans_nninteractive_3d_fullres" / "one.pkl"
    sound = pickled.read_bytes()
    try:
        pickled.write_bytes(pickle.dumps({"spacing": print}))
        with pytest.raises(UserError, match=r"one can't be read: its \.pkl is missing or damaged"):
            located.spacing_of("one")
    finally:
        pickled.write_bytes(sound)
