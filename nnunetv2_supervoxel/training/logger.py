"""nnU-Net's training log and progress plot, with the Dice after the first and the last prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import MaxNLocator
from nnunetv2.training.logging.nnunet_logger import LocalLogger

from nnunetv2_supervoxel.prompts.encoding import POSITIVE_NEGATIVE

KINDS = tuple(POSITIVE_NEGATIVE)
MOMENTS = ("first", "last")


def metric_name(moment: str, kind: str | None = None) -> str:
    """Name of a logged value: Dice after the "first" or "last" prompt, over all types or for one."""
    return f"dice_{moment}_prompt" + (f"_{kind}" if kind else "")


_FEW_EPOCHS = 20  # up to which every value is a dot: between one epoch and nothing there is no line
METRICS = tuple(metric_name(moment, kind) for moment in MOMENTS for kind in (None, *KINDS))


class PromptLogger(LocalLogger):
    """nnU-Net's local logger with `METRICS`: one value per epoch each, NaN where a type wasn't drawn."""

    def __init__(self, verbose: bool = False) -> None:
        super().__init__(verbose)
        self.my_fantastic_logging |= {name: [] for name in METRICS}

    def load_checkpoint(self, checkpoint: dict) -> None:
        """Take over a checkpoint's log, even if its trainer didn't know these metrics."""
        epochs = len(checkpoint["train_losses"])
        super().load_checkpoint({name: [float("nan")] * epochs for name in METRICS} | checkpoint)

    def plot_progress_png(self, output_folder: str) -> None:
        """nnU-Net's progress.png with one panel more, if something was prompted."""
        # nnU-Net itself sets the marker's size. It also sets large letters, which later plots shall not have.
        dots: Any = {"lines.marker": "o", "lines.markeredgewidth": 8} if self._few_epochs else {}
        with matplotlib.rc_context(dots):
            super().plot_progress_png(output_folder)
            if not self._occurred(None):
                return
            path = Path(output_folder) / "progress.png"
            theirs = plt.imread(path)[..., :3]
            ours = self._panel(theirs.shape[1])
            plt.imsave(path, np.concatenate([theirs, ours]))

    @property
    def _few_epochs(self) -> bool:
        return len(self.my_fantastic_logging["train_losses"]) <= _FEW_EPOCHS

    def _occurred(self, kind: str | None) -> bool:
        """Whether there was a prompt of a type, or any."""
        return not np.isnan(self.my_fantastic_logging[metric_name("last", kind)]).all()

    def _panel(self, width: int) -> np.ndarray:
        """Dice over epochs, dotted after the first prompt, solid after the last: RGB (h, width, 3), 0 to 1.

        Of few epochs, triangles after the first prompt, and dots after the last.
        """
        markers = {"first": "v", "last": "o"} if self._few_epochs else {}
        figure, axes = plt.subplots(figsize=(width / 100, width / 200), dpi=100)
        for number, kind in enumerate((None, *KINDS)):
            for moment in MOMENTS if self._occurred(kind) else ():
                axes.plot(
                    self.my_fantastic_logging[metric_name(moment, kind)],
                    color="black" if kind is None else f"C{number}",
                    marker=markers.get(moment),
                    ls=":" if moment == "first" else "-",
                    linewidth=6 if kind is None else 3,
                    label=f"{kind or 'all'}, {moment} prompt",
                )
        axes.set(xlabel="epoch", ylabel="Dice", ylim=(0, 1))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        figure.tight_layout()
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        panel = np.asarray(canvas.buffer_rgba())[..., :3] / 255
        plt.close(figure)
        return panel[:, :width]
