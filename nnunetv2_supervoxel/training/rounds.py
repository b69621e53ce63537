"""Rounds of interaction on one batch: prompt, look at the prediction, correct, ..."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from nnunetv2_supervoxel.config import InteractionKind
from nnunetv2_supervoxel.prompts.encoding import NUM_CHANNELS, PREVIOUS_SEGMENTATION, add_interaction
from nnunetv2_supervoxel.prompts.interaction import Interaction
from nnunetv2_supervoxel.prompts.user import SimulatedUser
from nnunetv2_supervoxel.training.dataset import UNKNOWN


class InteractionRounds:
    """The network input of a batch while simulated users work on it.

    Args:
        image: float32 (b, c, z, y, x), on any device.
        target: (b, 1, z, y, x), 1 inside the object, `UNKNOWN` where predictions are neither corrected nor counted.
        user: draws the prompts.
        decay: factor by which older prompts fade.
        rng: the users' randomness.
        kinds: the interaction type of every sample, for all its prompts; None: every prompt's type is drawn.

    Attributes:
        input: (b, c + 7, z, y, x), what the network should see next, on the image's device.
        given: per sample, the prompts so far; None where the prediction left nothing to correct.
    """

    def __init__(
        self,
        image: torch.Tensor,
        target: torch.Tensor,
        user: SimulatedUser,
        decay: float,
        rng: np.random.Generator,
        kinds: Sequence[InteractionKind] | None = None,
    ) -> None:
        self.input = without_prompts(image)
        self._channels = self.input[:, image.shape[1] :]
        known = target[:, 0] != UNKNOWN
        self._target = ((target[:, 0] > 0) & known).cpu().numpy()
        self._known = known.cpu().numpy()
        self._prediction: np.ndarray | None = None
        self._user, self._decay, self._rng = user, decay, rng
        self._kinds = [None] * len(image) if kinds is None else list(kinds)
        self.given: list[list[Interaction | None]] = [[] for _ in range(len(image))]

    def prompt(self, kind: InteractionKind | None = None) -> None:
        """Give every sample its next prompt, of the type `kind` unless that is None."""
        for i, (target, given) in enumerate(zip(self._target, self.given, strict=True)):
            if self._prediction is None:
                interaction = self._user.first(target, self._rng, kind or self._kinds[i])
            else:
                interaction = self._user.correct(target, self._prediction[i], self._rng, kind or self._kinds[i])
            if interaction is not None:
                add_interaction(self._channels[i], interaction, self._decay, given)
            given.append(interaction)

    def observe(self, logits: torch.Tensor) -> None:
        """Take the network's output (b, 2, z, y, x) as prediction. It becomes the previous segmentation."""
        prediction = logits[:, 1] > logits[:, 0]  # as argmax, which takes tens of times longer on a CPU
        self._channels[:, PREVIOUS_SEGMENTATION] = prediction
        self._prediction = prediction.cpu().numpy() & self._known

    def dice(self) -> np.ndarray:
        """Dice of every sample's prediction with its target, float64 (b,).

        Raises:
            RuntimeError: nothing was predicted yet.
        """
        if self._prediction is None:
            raise RuntimeError("observe() a prediction first")
        return np.array([dice(a, b) for a, b in zip(self._prediction, self._target, strict=True)])

    def prediction(self, sample: int) -> np.ndarray:
        """The last prediction for a sample, boolean (z, y, x), False where the target is unknown."""
        if self._prediction is None:
            raise RuntimeError("observe() a prediction first")
        return self._prediction[sample]


def without_prompts(image: torch.Tensor) -> torch.Tensor:
    """An image (b, c, z, y, x) as network input (b, c + 7, z, y, x) before anything was prompted."""
    channels = image.shape[1]
    whole = image.new_zeros((image.shape[0], channels + NUM_CHANNELS, *image.shape[2:]))
    whole[:, :channels] = image
    return whole


def dice(prediction: np.ndarray, target: np.ndarray) -> float:
    """Dice coefficient of two boolean arrays of one shape; 1 if both are empty."""
    total = np.count_nonzero(prediction) + np.count_nonzero(target)
    return float(2 * np.count_nonzero(prediction & target) / total) if total else 1.0
