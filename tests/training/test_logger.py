"""The plot of a training's progress. nnU-Net's own part of it, which takes seconds, is a small one here."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import seaborn as sns
from matplotlib.figure import Figure
from nnunetv2.training.logging.nnunet_logger import LocalLogger

from nnunetv2_supervoxel.training.logger import METRICS, MOMENTS, PromptLogger, metric_name

PURE = {"blue": (0, 0, 1), "black": (0, 0, 0)}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    def plot(logger: LocalLogger, folder: str) -> None:
        sns.set(font_scale=2.5)
        figure, axes = plt.subplots(figsize=(10, 4))
        axes.plot(logger.my_fantastic_logging["train_losses"], color="blue", linewidth=4)
        figure.savefig(Path(folder) / "progress.png")
        plt.close(figure)

    monkeypatch.setattr(LocalLogger, "plot_progress_png", plot)


def logger_after(epochs: int) -> PromptLogger:
    """Of a training with points alone."""
    logger = PromptLogger()
    log = logger.my_fantastic_logging
    log["train_losses"] = [-0.5] * epochs
    for metric in METRICS:
        log[metric] = [float("nan")] * epochs
    for moment in MOMENTS:
        log[metric_name(moment)], log[metric_name(moment, "point")] = [0.5] * epochs, [0.7] * epochs
    return logger


def pixels(picture: np.ndarray, colour: str) -> int:
    return int((np.abs(picture[..., :3] - PURE[colour]).max(axis=-1) < 0.02).sum())


def test_a_single_epoch_is_seen(tmp_path: Path) -> None:
    logger_after(1).plot_progress_png(str(tmp_path))
    picture = plt.imread(tmp_path / "progress.png")
    assert pixels(picture[:400], "blue") > 100
    assert pixels(picture[400:, :600], "black") > 100  # left of the legend


def test_many_epochs_are_lines_without_dots(tmp_path: Path) -> None:
    logger_after(1000).plot_progress_png(str(tmp_path))
    thickness = pixels(plt.imread(tmp_path / "progress.png")[:400, 500:501], "blue")
    assert 0 < thickness < 8


def test_only_types_that_occurred_are_in_the_legend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Figure] = []
    monkeypatch.setattr(plt, "close", closed.append)
    logger_after(2).plot_progress_png(str(tmp_path))
    (axes,) = closed[-1].axes
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["all, first prompt", "all, last prompt", "point, first prompt", "point, last prompt"]


def test_other_plots_keep_their_letters(tmp_path: Path) -> None:
    size = plt.rcParams["font.size"]
    logger_after(1).plot_progress_png(str(tmp_path))
    assert plt.rcParams["font.size"] == size
