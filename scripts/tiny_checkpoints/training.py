"""The training itself, the same for SAM and SAM 2: a time instead of a number of steps, and averaged weights."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm import tqdm

BACKUP_EVERY = 120  # seconds

Weights = dict[str, torch.Tensor]
Step = Callable[[Any], tuple[torch.Tensor, float]]  # of a sample, the loss to learn from and an IoU to show


class Samples(IterableDataset):
    """Draws samples without end; in every worker others.

    Args:
        draw: draws one.
        seed: decides, with the worker's number, what is drawn.
    """

    def __init__(self, draw: Callable[[np.random.Generator], Any], seed: int) -> None:
        self._draw, self._seed = draw, seed

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        rng = np.random.default_rng([self._seed, worker.id if worker else 0])
        while True:
            yield self._draw(rng)


def load(samples: Samples, workers: int) -> Iterator[Any]:
    """The samples, drawn by this process (0 workers) or ahead by others."""
    return iter(DataLoader(samples, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None))


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Attributes:
        minutes: length of the training.
        learning_rate: the highest one. It rises first, then falls to 2 % of it as a cosine does.
        warm_up: share of the time in which it rises.
        ema: decay of the averaged weights.
    """

    minutes: float
    learning_rate: float
    warm_up: float
    ema: float

    def learning_rate_at(self, progress: float) -> float:
        """The learning rate after a share of the time, 0 to 1."""
        if progress < self.warm_up:
            return self.learning_rate * (progress / self.warm_up)
        fallen = (progress - self.warm_up) / (1 - self.warm_up)
        return self.learning_rate * (0.02 + 0.49 * (1 + math.cos(math.pi * fallen)))


def train(model: torch.nn.Module, step: Step, samples: Iterator[Any], schedule: Schedule, backup: Path) -> Weights:
    """Train with AdamW, and return the averaged weights.

    Args:
        model: changed in place.
        step: computes the loss of one sample.
        samples: one for each step.
        schedule: how long and how fast.
        backup: file for the averaged weights, written every two minutes and at the end.
    """
    optimizer = _optimizer(model)
    ema = {key: value.clone() for key, value in model.state_dict().items()}
    begin = saved = time.monotonic()
    losses, ious = [], []
    with tqdm(desc=backup.stem, unit="step", disable=None) as bar:
        while (progress := (time.monotonic() - begin) / 60 / schedule.minutes) < 1:
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate_at(progress)
            optimizer.zero_grad(set_to_none=True)
            loss, iou = step(next(samples))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            bar.update()
            _average(ema, model.state_dict(), min(schedule.ema, bar.n / (bar.n + 20)))
            losses.append(loss.item())
            ious.append(iou)
            if bar.n % 100 == 0:
                bar.set_postfix(loss=np.mean(losses[-100:]), iou=np.mean(ious[-100:]))
            if time.monotonic() - saved > BACKUP_EVERY:
                _save(ema, backup)
                saved = time.monotonic()
    _save(ema, backup)
    return ema


def fit_to(model: torch.nn.Module, weights: Weights) -> Weights:
    """Weights of a run at another image size, made to fit the model.

    SAM's tables of positions are stretched. Nothing else depends on the image size.
    """
    fitted = dict(weights)
    for key, wanted in model.state_dict().items():
        if key.endswith("pos_embed") and weights[key].shape != wanted.shape:  # (1, y, x, c)
            table = weights[key].permute(0, 3, 1, 2)
            table = F.interpolate(table, wanted.shape[1:3], mode="bicubic", align_corners=False)
            fitted[key] = table.permute(0, 2, 3, 1)
        elif "rel_pos" in key and weights[key].shape != wanted.shape:  # (offset, c)
            fitted[key] = F.interpolate(weights[key].T[None], len(wanted), mode="linear", align_corners=False)[0].T
    return fitted


def _optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    """AdamW, with weight decay for matrices only."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


@torch.no_grad()
def _average(ema: Weights, weights: Weights, keep: float) -> None:
    """Move the averaged weights, in place, towards the present ones."""
    for key, value in weights.items():
        ema[key].lerp_(value, 1 - keep)


def _save(weights: Weights, path: Path) -> None:
    """Write aside first, so that an interruption leaves the older backup."""
    aside = path.with_suffix(".part")
    torch.save(weights, aside)
    os.replace(aside, path)
