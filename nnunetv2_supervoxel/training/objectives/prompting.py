"""Segmenting what simulated users point at, over several rounds of corrections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from batchgenerators.utilities.file_and_folder_operations import save_json
from torch import nn

from nnunetv2_supervoxel.config import InteractionKind, PromptTrainingConfig
from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.pages.object_pictures import object_picture
from nnunetv2_supervoxel.pages.training_page import extremes, write_training_page
from nnunetv2_supervoxel.prompts.user import SimulatedUser
from nnunetv2_supervoxel.training.dataset import UNKNOWN, LabelUse, PromptDataset
from nnunetv2_supervoxel.training.evaluation import (
    Draw,
    ObjectResult,
    Predict,
    evaluate_case,
    gains,
    plot_curves,
    summarise,
)
from nnunetv2_supervoxel.training.logger import KINDS, MOMENTS, PromptLogger, metric_name
from nnunetv2_supervoxel.training.objectives.base import Objective, hits_and_misses, ignore_unknown
from nnunetv2_supervoxel.training.ranks import gathered, share_of_rank
from nnunetv2_supervoxel.training.rounds import InteractionRounds
from nnunetv2_supervoxel.training.sampling import Sampler, finest, to_device

if TYPE_CHECKING:
    from nnunetv2_supervoxel.training.trainer import SupervoxelTrainer


@dataclass(frozen=True)
class _Validated:
    """A case of the final validation: its objects, or why there are none."""

    name: str
    objects: list[ObjectResult]
    problem: str = ""


class Prompting(Objective):
    """nnU-Net's loss on the object that a user points at, after the last of several interactions.

    Attributes:
        user: draws the prompts.
    """

    Settings = PromptTrainingConfig
    settings: PromptTrainingConfig

    def __init__(self, trainer: SupervoxelTrainer, settings: PromptTrainingConfig) -> None:
        super().__init__(trainer, settings)
        self.real_label_fraction = settings.real_label_fraction
        # For large images, nnU-Net plans one Dice over the batch. Here it would hide a small object beside a large one.
        trainer.configuration_manager.configuration["batch_dice"] = False
        trainer.logger.local_logger = PromptLogger(trainer.logger.local_logger.verbose)
        cv2.setNumThreads(0)  # users draw on slices so small that waking a thread takes longer than the work
        self.user = SimulatedUser(settings.interactions, settings.point_radius, settings.scribble_thickness)
        self._users_rng = np.random.default_rng()
        self._rounds_rng = np.random.default_rng(0)
        self._validated = 0  # how many samples of this epoch were validated

    def label_use(self, training: bool) -> LabelUse:
        """Labels are used if the config asks for them, and in a validation in which no case has supervoxels."""
        if self.real_label_fraction:
            return "also"
        return "never" if training else "instead"

    def samplers(self, train: Sequence[PromptDataset], validation: PromptDataset) -> tuple[Sampler, Sampler]:
        """Both show the object's mask."""
        return Sampler(), Sampler()

    def loss(self, usual: nn.Module) -> nn.Module:
        """nnU-Net's loss. Where labels may leave something unknown, nothing is learned of that."""
        further = bool(self.real_label_fraction and self.settings.datasets)  # they can have an ignore label, too
        if further or self.trainer.real_label_manager.has_ignore_label:
            ignore_unknown(usual)
        return usual

    def notes(self) -> list[str]:
        """A warning if nnInteractive's session will give the network other intensities than the training does."""
        configuration = self.trainer.configuration_manager
        schemes = set(configuration.normalization_schemes)
        if schemes == {"ZScoreNormalization"} and not any(configuration.use_mask_for_norm):
            return []
        return [
            "nnInteractive's session z-scores every image as a whole. This dataset is normalised in another way "
            f"({', '.join(sorted(schemes))}), so the session will give the network other intensities than the training."
        ]

    def on_train_epoch_start(self, epoch: int) -> None:
        """All ranks draw the same numbers of rounds, so that none waits for the others."""
        self._rounds_rng = np.random.default_rng(epoch)

    def train_step(self, batch: dict) -> dict:
        """One training step as in nnU-Net on the last of 1 to `max_rounds` rounds. Earlier rounds have no gradient."""
        rounds = self._rounds(batch)
        rounds.prompt()
        for _ in range(int(self._rounds_rng.integers(self.settings.max_rounds))):
            rounds.observe(self.trainer.predict(rounds.input))
            rounds.prompt()
        return self.trainer.step(rounds.input, batch["target"], self.trainer.loss)

    def on_validation_epoch_start(self) -> None:
        """Every rank starts with a different interaction type."""
        self._validated = self.trainer.local_rank

    def validation_step(self, batch: dict) -> dict:
        """Run `max_rounds` rounds. A sample has one interaction type in all rounds; the samples use the types in turn.

        Returns:
            What nnU-Net's returns, after the last round, and "prompts": per sample (type, Dice after the first prompt,
            Dice after the last).
        """
        known = self.user.kinds
        kinds = [known[(self._validated + i) % len(known)] for i in range(len(batch["data"]))]
        self._validated += len(kinds)
        rounds = self._rounds(batch, kinds)
        target = to_device(batch["target"], self.trainer.device)
        curve = []
        for _ in range(self.settings.max_rounds):
            rounds.prompt()
            output = self.trainer.forward(rounds.input)
            rounds.observe(finest(output))
            curve.append(rounds.dice())
        with self.trainer.autocast():
            loss = self.trainer.loss(output, target)
        logits, wanted = finest(output), finest(target)[:, 0]
        counted = wanted != UNKNOWN
        counts = hits_and_misses((logits[:, 1] > logits[:, 0]) & counted, (wanted > 0) & counted)
        prompts = list(zip(kinds, curve[0].tolist(), curve[-1].tolist(), strict=True))
        return {"loss": loss.cpu().numpy(), **counts, "prompts": prompts}

    def on_validation_epoch_end(self, outputs: list[dict]) -> None:
        """Log Dice by interaction type. nnU-Net's pseudo Dice is the one after the last prompt."""
        prompts = gathered([entry for output in outputs for entry in output.pop("prompts")])
        text = []
        for kind in (None, *KINDS):
            scores = np.array([entry[1:] for entry in prompts if kind in (None, entry[0])]).reshape(-1, 2)
            means = scores.mean(axis=0) if len(scores) else np.full(2, np.nan)
            for moment, mean in zip(MOMENTS, means, strict=True):
                self.trainer.logger.log(metric_name(moment, kind), float(mean), self.trainer.current_epoch)
            if len(scores):
                text.append(f"{kind or 'all'} {means[0]:.3f} -> {means[1]:.3f}")
        self.trainer.print_to_log_file(f"Dice after 1 -> {self.settings.max_rounds} prompts: {', '.join(text)}")

    def validate(self) -> None:
        """Curves of Dice over interactions for every object of the validation cases.

        A model that the training started from is validated on the same objects, too. Its first prompts are the same,
        and the same user corrects what it predicts. Writes ``validation/summary.json``,
        ``validation/dice_over_interactions.png`` and ``validation/report.html``.

        Raises:
            UserError: no case could be validated.
        """
        dataset = self.trainer.open_validation_dataset()
        results = self._results(dataset, self.trainer.predict, self._draw)
        summary = self._summary(results)
        network = self.trainer.start_network()
        if network is not None:
            self.trainer.print_to_log_file("validating the start model on the same objects")
            before = self._results(dataset, partial(self.trainer.predict, network=network))
            summary["start"] = self._summary(before)
        if self.trainer.local_rank == 0:
            self._report(summary, {case: [one.picture for one in objects] for case, objects in results.items()})

    def _rounds(self, batch: dict, kinds: Sequence[InteractionKind] | None = None) -> InteractionRounds:
        image, target = to_device(batch["data"], self.trainer.device), finest(batch["target"])
        decay = self.settings.interaction_decay
        return InteractionRounds(image, target, self.user, decay, self._users_rng, kinds)

    def _results(
        self, dataset: PromptDataset, predict: Predict, draw: Draw | None = None
    ) -> dict[str, list[ObjectResult]]:
        """The results of all cases, shared out among all ranks.

        Raises:
            UserError: no case could be validated.
        """
        validated: list[_Validated] = []
        shown: list[ObjectResult] = []
        for name in share_of_rank(dataset.identifiers):  # sorted, as in the summary
            validated.append(self._evaluate(dataset, name, predict, draw))
            shown = _forget_unseen_pictures([*shown, *validated[-1].objects])
            self.trainer.print_to_log_file(f"validated {name}: {len(validated[-1].objects)} objects")
        validated = sorted(gathered(validated), key=lambda case: case.name)
        for case in validated:
            if case.problem:
                self.trainer.print_to_log_file(f"WARNING: {case.name} is left out of the validation: {case.problem}")
        if not any(case.objects for case in validated):
            raise UserError("Not one case could be validated; the log says why.")
        return {case.name: case.objects for case in validated}

    def _summary(self, results: dict[str, list[ObjectResult]]) -> dict:
        labels = self.trainer.dataset_json["labels"].items()
        names = {label: name for name, label in labels if isinstance(label, int)}
        return summarise(results, self.settings.validation_interactions, names)

    def _draw(self, image: np.ndarray, target: np.ndarray, rounds: InteractionRounds) -> bytes:
        """An object's picture for the page."""
        prompts = [given for given in rounds.given[0] if given is not None]
        spacing = self.trainer.configuration_manager.spacing
        return object_picture(image, target, rounds.prediction(0), prompts, spacing)

    def _evaluate(self, dataset: PromptDataset, name: str, predict: Predict, draw: Draw | None) -> _Validated:
        """A case's results. If it can't be read, there are none."""
        try:
            objects = evaluate_case(
                dataset.open_case(name),
                predict,
                self.user,
                self.settings,
                self.trainer.configuration_manager.patch_size,
                self.trainer.device,
                draw,
            )
        except torch.cuda.OutOfMemoryError:
            raise
        except (UserError, RuntimeError, ValueError, OSError) as error:
            return _Validated(name, [], str(error))
        return _Validated(name, objects)

    def _report(self, summary: dict, pictures: dict[str, list[bytes]]) -> None:
        folder = Path(self.trainer.output_folder) / "validation"
        folder.mkdir(parents=True, exist_ok=True)
        save_json(summary, str(folder / "summary.json"), sort_keys=False)
        plot_curves(summary, folder / "dice_over_interactions.png")
        dataset, configuration = self.trainer.plans_manager.dataset_name, self.trainer.configuration_name
        trained = f"{dataset}, {configuration}, fold {self.trainer.fold}"
        write_training_page(folder / "report.html", trained, summary, pictures)
        for source, mean in summary["mean"].items():
            curve = ", ".join(f"{value:.3f}" for value in mean["dice"])
            self.trainer.print_to_log_file(f"Mean Dice over interactions, {mean['objects']} {source}s: {curve}")
            self.trainer.logger.log_summary(f"final_val/{source}_dice", mean["dice"][-1])
        for line in gains(summary) if "start" in summary else ():
            self.trainer.print_to_log_file(f"Dice of the start model -> now, {line}")
        self.trainer.print_to_log_file(f"Validation complete: {folder / 'summary.json'}")


def _forget_unseen_pictures(objects: Sequence[ObjectResult]) -> list[ObjectResult]:
    """Keep the pictures that the page may show, of thousands in a large validation; the objects that have them."""
    worst, best = extremes(objects, lambda one: one.dice[-1])
    shown = {id(one) for one in (*worst, *best)}
    for one in objects:
        if id(one) not in shown:
            one.picture = b""
    return [one for one in objects if id(one) in shown]
