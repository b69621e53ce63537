"""A preprocessed dataset with one case of every sort, and a browser."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunetv2_supervoxel import SupervoxelSet
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.pages.entries import CaseToShow, cases_to_show
from nnunetv2_supervoxel.quality.inputs import EvaluatedDataset, find_dataset

SHAPE, SPACING, PATCH = (12, 40, 58), (2.5, 0.7, 0.9), (8, 16, 16)
ODD_NAME = "x<i>&\"y' z"
CASES = ("a1", "a2", "a3", "a4", "a5", "damaged", "empty", "few", "missing", "other", ODD_NAME)
PLANS = {
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "foreground_intensity_properties_per_channel": {"0": {}},
    "configurations": {
        "3d_fullres": {
            "data_identifier": "cases",
            "architecture": {},
            "spacing": SPACING,
            "patch_size": PATCH,
            "normalization_schemes": ["ZScoreNormalization"],
        }
    },
}
MADE_BY = {
    "packages": {"nnunetv2-supervoxel": "0.1.0"},
    "checkpoints": {"sam1": {"name": "tiny_sam.safetensors", "sha256": "a" * 64}},
    "config": {"method": "sam", "seed": 0, "keyframes": 6},
    "device": "cpu",
}


def image_of(case: str) -> np.ndarray:
    """Float (1, z, y, x): a bright body with a gradient."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    noise = np.random.default_rng(CASES.index(case)).normal(0, 0.02, SHAPE)
    return (np.where(z**2 + y**2 + x**2 < 0.9, 1 + 0.5 * x, 0) + noise)[None].astype(np.float32)


def supervoxels_of(case: str) -> SupervoxelSet:
    """Blocks inside the body, cut off at random; one of `few`, none of `empty`."""
    rng = np.random.default_rng(CASES.index(case))
    labels = np.zeros(SHAPE, int)
    for number in range(1, 2 if case == "few" else 9):
        z, y, x = rng.integers((3, 8, 10), (7, 24, 40))
        labels[z : z + 3, y : y + 7, x : x + 9] = number
    whole = SupervoxelSet.of_labels(labels, least=50)  # what others leave of a block may be tiny
    scores = {"predicted_iou": 0.9, "stability_score": 0.8, "consistency": 0.7}
    supervoxels = () if case == "empty" else tuple(replace(one, **scores) for one in whole.supervoxels)
    return SupervoxelSet(SHAPE, supervoxels, SPACING, ("12 voxels are NaN or infinite",) if case == "a2" else ())


@pytest.fixture(scope="session")
def written(nnunet_folders: dict[str, str]) -> Path:
    """Dataset987_Pages as preprocessing and generation leave it; not to be changed."""
    folder = Path(nnunet_folders["nnUNet_preprocessed"]) / "Dataset987_Pages"
    (folder / "cases").mkdir(parents=True)
    (folder / "nnUNetPlans.json").write_text(json.dumps(PLANS))
    properties = {"sitk_stuff": {"spacing": SPACING[::-1], "origin": (0, 0, 0), "direction": tuple(np.eye(3).ravel())}}
    for case in CASES:
        path, segmentation = str(folder / "cases" / case), np.zeros((1, *SHAPE), np.int16)
        nnUNetDatasetBlosc2.save_case(image_of(case), segmentation, properties, path, (1, *SHAPE), (1, 8, 16, 32))
        if case == "missing":
            continue
        made_by = MADE_BY | {"config": MADE_BY["config"] | {"keyframes": 2}} if case == "other" else MADE_BY
        supervoxel_files.write_case(folder / "cases_supervoxels", case, supervoxels_of(case), made_by, PATCH)
    path = folder / "cases_supervoxels" / "damaged.b2nd"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return folder


@pytest.fixture(scope="session")
def dataset(written: Path) -> EvaluatedDataset:
    return find_dataset(987, "nnUNetPlans", "3d_fullres", None)


@pytest.fixture
def folder(written: Path) -> Iterator[Path]:
    """A copy, Dataset985_Changed, that a test may change."""
    folder = written.with_name("Dataset985_Changed")
    shutil.copytree(written, folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def cases(dataset: EvaluatedDataset) -> dict[str, CaseToShow]:
    """Those with supervoxel files, by name."""
    return {one.case.name: one for one in cases_to_show(dataset, (0, 1, 2))}


def find_chromium() -> str | None:
    """The environment variable CHROMIUM, or what is on the PATH."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next((path for name in names if (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Callable]:
    """Chromium without a window, which draws WebGL in software."""
    program = find_chromium()
    if program is None:
        pytest.skip("there is no Chromium: install it (apt-get install chromium), or name one in CHROMIUM")
    playwright = pytest.importorskip("playwright.sync_api")
    flags = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=program, args=flags)
        yield opened
        opened.close()
