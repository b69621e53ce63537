"""The simulated user: points at an object, looks at the prediction, corrects it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nnunetv2_supervoxel.config import InteractionKind
from nnunetv2_supervoxel.prompts.box import draw_box
from nnunetv2_supervoxel.prompts.interaction import Interaction
from nnunetv2_supervoxel.prompts.lasso import draw_lasso
from nnunetv2_supervoxel.prompts.point import draw_point
from nnunetv2_supervoxel.prompts.regions import draw_error_region
from nnunetv2_supervoxel.prompts.scribble import THICKNESS, draw_scribble
from nnunetv2_supervoxel.randomness import weighted_choice


@dataclass(frozen=True)
class SimulatedUser:
    """Draws prompts as a user would.

    Attributes:
        weights: how often each interaction type is drawn (relative, not all 0).
        point_radius: of a point's ball, in voxels.
        scribble_thickness: of the brush, in voxels.
    """

    weights: Mapping[InteractionKind, float]
    point_radius: int = 4
    scribble_thickness: int = THICKNESS

    @property
    def kinds(self) -> list[InteractionKind]:
        """The types that are drawn at all."""
        return [kind for kind, weight in self.weights.items() if weight > 0]

    def first(
        self, target: np.ndarray, rng: np.random.Generator, kind: InteractionKind | None = None
    ) -> Interaction | None:
        """The first prompt: positive, somewhere on the object.

        Args:
            target: boolean (z, y, x), the object.
            rng: draws the type and everything else.
            kind: the type; None: it is drawn.

        Returns:
            None if the target is empty.
        """
        return self._draw(target, target, rng, kind) if target.any() else None

    def correct(
        self, target: np.ndarray, prediction: np.ndarray, rng: np.random.Generator, kind: InteractionKind | None = None
    ) -> Interaction | None:
        """The next prompt: positive on a part of the object that is missing, negative on a part that isn't the object.

        Args:
            target: as in `first`.
            prediction: boolean (z, y, x), what the network takes for the object.
            rng: as in `first`.
            kind: as in `first`.

        Returns:
            None if every voxel of the prediction is right.
        """
        region = draw_error_region(target, prediction, rng)
        return None if region is None else self._draw(target, region, rng, kind)

    def _draw(
        self, target: np.ndarray, region: np.ndarray, rng: np.random.Generator, kind: InteractionKind | None
    ) -> Interaction:
        if kind is None:
            kinds = self.kinds
            kind = kinds[weighted_choice([self.weights[kind] for kind in kinds], rng)]
        if kind == "point":
            return draw_point(target, region, rng, self.point_radius)
        if kind == "scribble":
            return draw_scribble(target, region, rng, self.scribble_thickness)
        return {"box": draw_box, "lasso": draw_lasso}[kind](target, region, rng)
