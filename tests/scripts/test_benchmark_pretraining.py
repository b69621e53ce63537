"""The figures that scripts/benchmark_pretraining.py computes itself."""

import importlib
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from nnunetv2_supervoxel.files import supervoxel_files

IDENTIFIER = "nnUNetPlans_3d_fullres"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "scripts")
    return importlib.import_module("benchmark_pretraining")


@pytest.fixture
def one_case(prompt_dataset, tmp_path):
    """A preprocessed folder with one of the phantoms and its true objects as supervoxels."""
    for folder in (IDENTIFIER, f"{IDENTIFIER}_supervoxels"):
        (tmp_path / folder).mkdir()
        for file in (prompt_dataset / folder).glob("case0*"):
            shutil.copy(file, tmp_path / folder)
    return tmp_path


def test_best_overlap_is_that_of_the_best_supervoxel_with_a_structure_or_one_side_of_it(benchmark, one_case):
    masks = supervoxel_files.open_array(one_case / f"{IDENTIFIER}_supervoxels", "case0")[:] > 0
    whole, halved, paired = masks[np.argsort(-masks.sum(axis=(1, 2, 3)))[:3]]
    labels = np.zeros(masks.shape[1:], np.uint8)
    labels[whole], labels[halved], labels[paired] = 1, 2, 3
    middle = int(np.nonzero(halved)[0].mean())
    labels[:middle][halved[:middle]] = 0
    corner = labels[:2, :2, :2]
    assert not corner.any()
    corner[:] = 3  # this structure's other side, which no supervoxel has
    (one_case / "labels").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(one_case / "labels" / "case0.nii.gz"))

    half = np.count_nonzero(labels == 2) / np.count_nonzero(halved)
    assert 0.2 < half < 0.8
    expected = [1, half, 1, 0, 0, 0]  # three of the six structures are nowhere
    assert benchmark.best_overlap(one_case, one_case / "labels") == pytest.approx(np.mean(expected))


def test_the_table_holds_mean_and_spread_over_seeds_and_gains(benchmark):
    dice = {"scratch": (0.2, 0.4), "naming, supervoxels": (0.5, 0.5), "naming, slic": (0.6, 0.62)}
    budget = benchmark.Budget(counts=(2,), seeds=2, lengths=(10,))
    cells = {
        benchmark.Cell(arm, count=2, seed=seed, epochs=10).name: {"dice": value}
        for arm, values in dice.items()
        for seed, value in enumerate(values)
    }
    results = SimpleNamespace(cells=cells, content={"best_overlap": {"supervoxels": 0.254, "slic": 0.2}})

    text = benchmark.table(results, [*dice], budget)

    for row in (
        r"steps of fine-tuning +150",
        r"scratch +0\.300 ± 0\.141",
        r"naming, supervoxels +0\.500 ± 0\.000",
        r"naming, supervoxels +\+0\.200 ± 0\.141",  # seed by seed
        r"naming, slic +\+0\.310 ± 0\.127",
        r"supervoxels 0\.25, slic 0\.20",
    ):
        assert re.search(row, text), text


def test_a_seed_has_pretrainings_of_its_own_and_every_cell_a_fold_of_its_own(benchmark):
    budget, arms = benchmark.Budget(), [*benchmark.ARMS]
    cells = [cell for seed in range(budget.seeds) for cell in benchmark.cells(seed, arms, budget)]
    assert len({cell.name for cell in cells}) == len(cells) == 3 * 3 * 2 * 6
    folds = {benchmark.fold(cell, budget): (cell.seed, cell.count) for cell in cells}
    assert sorted(folds) == list(range(9))
    assert len(set(folds.values())) == 9
    pretrained = [arm for arm in arms if benchmark.ARMS[arm].pool]
    weights = {benchmark.weights_of(arm, seed, Path("x")) for arm in pretrained for seed in range(budget.seeds)}
    assert len(weights) == 12


def test_warmed_up_rates_rise_to_those_of_nnunet(monkeypatch):
    trainers = Path(__file__).parents[2] / "scripts" / "benchmarking" / "trainers"
    monkeypatch.syspath_prepend(trainers)
    trainer_class = importlib.import_module("FewCasesTrainer").FewCasesTrainer

    def rates(warmup_epochs: int) -> list[float]:
        settings = {"initial_lr": 0.3, "num_epochs": 10, "warmup_epochs": warmup_epochs}
        trainer = SimpleNamespace(network=torch.nn.Linear(1, 1), **settings)
        optimizer, scheduler = trainer_class.configure_optimizers(trainer)
        rates = []
        for epoch in range(10):
            scheduler.step(epoch)
            rates.append(optimizer.param_groups[0]["lr"])
        return rates

    assert rates(3)[:4] == pytest.approx([0.1, 0.2, 0.3, 0.3])
    assert sorted(rates(3)[3:], reverse=True) == rates(3)[3:]
    assert rates(0)[0] == 0.3
    assert rates(3)[-1] == pytest.approx(0.3 * (1 / 7) ** 0.9)
