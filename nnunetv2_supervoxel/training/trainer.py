"""An nnU-Net trainer whose network segments what simulated users point at."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import numpy as np
import torch
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from batchgenerators.utilities.file_and_folder_operations import save_json
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA
from nnunetv2.utilities.helpers import dummy_context
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import autocast, nn
from torch import distributed as dist

from nnunetv2_supervoxel.config import PromptTrainingConfig, find_config, load_config
from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files.supervoxel_files import supervoxel_folder
from nnunetv2_supervoxel.prompts.encoding import NUM_CHANNELS
from nnunetv2_supervoxel.prompts.user import SimulatedUser
from nnunetv2_supervoxel.threads_and_heap import take_threads_asked_for
from nnunetv2_supervoxel.training.dataloader import PromptDataLoader, finest
from nnunetv2_supervoxel.training.dataset import PromptDataset
from nnunetv2_supervoxel.training.evaluation import ObjectResult, evaluate_case, plot_curves, summarise
from nnunetv2_supervoxel.training.further_datasets import count_image_channels, open_further_dataset, remedy
from nnunetv2_supervoxel.training.logger import KINDS, MOMENTS, PromptLogger, metric_name
from nnunetv2_supervoxel.training.supervoxel_classes import (
    UNKNOWN,
    NamingHeads,
    make_classes,
    naming_loss,
    outputs_of,
    zero_of,
)
from nnunetv2_supervoxel.training.rounds import InteractionRounds, without_prompts

Augmenter = SingleThreadedAugmenter | NonDetMultiThreadedAugmenter
CONFIG_VARIABLE = "nnUNet_supervoxel_training_config"


class SupervoxelPromptTrainer(nnUNetTrainer):
    """nnU-Net's trainer for one binary object per patch, image and interaction channels in, two outputs.

    Settings come from the YAML file (or the template's name) in the environment variable
    ``nnUNet_supervoxel_training_config``, see `PromptTrainingConfig`.

    Attributes:
        fixed_epochs: set by the trainers that are named after a length; wins over the config.

    Raises:
        UserError: a wrong config; plans or a configuration that can't be trained here.
    """

    fixed_epochs: int | None = None

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int | str,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008, nnU-Net's signature
    ) -> None:
        config_name = os.environ.get(CONFIG_VARIABLE)
        config = PromptTrainingConfig()
        if config_name:
            config = load_config(find_config(config_name, "training"), PromptTrainingConfig)
        _check_configuration(plans, configuration)
        super().__init__(plans, configuration, fold, dataset_json, device)
        take_threads_asked_for()
        self.config = config
        self.num_epochs = self.fixed_epochs or config.num_epochs
        self.num_iterations_per_epoch = config.num_iterations_per_epoch
        self.num_val_iterations_per_epoch = config.num_val_iterations_per_epoch
        self.initial_lr = config.initial_lr
        if config.batch_size:
            self.configuration_manager.configuration["batch_size"] = config.batch_size
        # Loss, augmentation and metrics follow the label manager: here there is one object and no label to ignore.
        self.real_label_manager = self.label_manager
        self.label_manager = self.plans_manager.get_label_manager({"labels": {"background": 0, "object": 1}})
        self.logger.local_logger = PromptLogger(self.logger.local_logger.verbose)
        cv2.setNumThreads(0)  # users draw on slices so small that waking a thread takes longer than the work
        self.user = SimulatedUser(config.interactions, config.point_radius)
        self.users_rng = np.random.default_rng()
        self.rounds_rng = np.random.default_rng(0)

    @staticmethod
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """The plans' network, with the interaction channels after `num_input_channels` image channels.

        It has two outputs, background and object, whatever number of labels a caller (nnU-Net's predictor) found.
        """
        return nnUNetTrainer.build_network_architecture(
            plans_manager, configuration_manager, num_input_channels + NUM_CHANNELS, 2, enable_deep_supervision
        )

    def initialize(self) -> None:
        """Build everything, as nnU-Net does."""
        super().initialize()
        if self.config.naming_fraction:
            self.naming_loss = naming_loss(self.loss)
        self.num_input_channels += NUM_CHANNELS
        self.print_to_log_file(f"Prompt training: {self.config.model_dump_json()}")
        schemes = set(self.configuration_manager.normalization_schemes)
        if schemes != {"ZScoreNormalization"} or any(self.configuration_manager.use_mask_for_norm):
            self.print_to_log_file(
                "INFO: nnInteractive's session z-scores every image as a whole; this dataset is normalised otherwise "
                f"({', '.join(sorted(schemes))}), so there the network will meet other intensities than in training."
            )

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PolyLRScheduler]:
        """The config's optimizer under nnU-Net's schedule.

        nnU-Net calls this after building the network and before DDP wraps it: here the heads for naming join it.
        """
        network = self._bare_network
        if self.config.naming_fraction and not hasattr(network, "naming"):
            classes = self.config.naming_classes * (1 + len(self.config.datasets))
            network.naming = NamingHeads(network.decoder, classes).to(self.device)
        if self.config.optimizer == "sgd":
            return super().configure_optimizers()
        parameters = self.network.parameters()
        optimizer = torch.optim.AdamW(parameters, self.initial_lr, weight_decay=self.weight_decay)
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    def on_train_start(self) -> None:
        """As in nnU-Net; the settings are left beside debug.json, where an export finds them."""
        super().on_train_start()
        if self.local_rank == 0:
            save_json(self.config.model_dump(mode="json"), os.path.join(self.output_folder, "prompt_training.json"))

    def get_tr_and_val_datasets(self) -> tuple[list[PromptDataset], PromptDataset]:
        """Training datasets (the command line's, then the config's further ones) and the validation dataset.

        Raises:
            UserError: training or validation cases of the fold have no supervoxels; a further dataset doesn't fit.
        """
        train_keys, val_keys = self.do_split()
        further = [
            open_further_dataset(name, self.plans_manager.plans_name, self.configuration_name, self.image_channels)
            for name in self.config.datasets
        ]
        return [self._open_dataset(train_keys), *further], self._open_dataset(val_keys)

    def get_dataloaders(self) -> tuple[Augmenter, Augmenter]:
        """Running loaders for training and validation, with nnU-Net's augmentation and number of workers."""
        initial_patch, training = self._augmentation()
        patch_size = self.configuration_manager.patch_size
        train, validation = self.get_tr_and_val_datasets()
        classes = make_classes(train, self.config.naming_classes) if self.config.naming_fraction else []
        train_loader = PromptDataLoader(
            train,
            self.batch_size,
            initial_patch,
            patch_size,
            training,
            weights=[1.0, *self.config.datasets.values()],
            real_label_fraction=self.config.real_label_fraction,
            min_target_voxels=self.config.min_target_voxels,
            max_shift=self.config.max_patch_shift,
            classes=classes,
            naming_fraction=self.config.naming_fraction,
            mark_outside=any(self.configuration_manager.use_mask_for_norm),
        )
        val_loader = PromptDataLoader(
            [validation],
            self.batch_size,
            patch_size,
            patch_size,
            self.get_validation_transforms(self._get_deep_supervision_scales()),
            real_label_fraction=self.config.real_label_fraction,
            min_target_voxels=self.config.min_target_voxels,
            max_shift=self.config.max_patch_shift,
            classes=classes[:1],
            naming_fraction=float(self.config.never_prompts),
        )
        processes = get_allowed_n_proc_DA()
        return self._start(train_loader, processes), self._start(val_loader, processes // 2 if processes else 0)

    def on_train_epoch_start(self) -> None:
        """As in nnU-Net; all ranks draw the same numbers of rounds, so that none waits for the others."""
        super().on_train_epoch_start()
        self.rounds_rng = np.random.default_rng(self.current_epoch)

    def train_step(self, batch: dict) -> dict:
        """One step of nnU-Net's on the last of 1 to `max_rounds` rounds; the rounds before run without gradient.

        A batch without objects is one for naming, see naming.py.
        """
        if "target" not in batch:
            return self._naming_step(batch)
        rounds = self._rounds(batch)
        rounds.prompt()
        for _ in range(int(self.rounds_rng.integers(self.config.max_rounds))):
            rounds.observe(self._predict(rounds.input))
            rounds.prompt()
        return self._nnunets_step(rounds.input, batch["target"], self.loss)

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """As in nnU-Net; the loss of steps for naming, which is of another kind, is told apart."""
        naming = [output["naming"] for output in train_outputs if "naming" in output]
        prompted = [output for output in train_outputs if "naming" not in output]
        if naming:
            self.print_to_log_file(f"Naming loss: {np.mean(naming):.4f}")
        super().on_train_epoch_end(prompted or [{"loss": loss} for loss in naming])

    def validation_step(self, batch: dict) -> dict:
        """`max_rounds` rounds, each sample with one interaction type throughout, the types in turn.

        A batch without objects, as trainings without prompts have them, is named once.

        Returns:
            What nnU-Net's returns, after the last round, and "prompts": per sample (type, Dice after the first prompt,
            Dice after the last).
        """
        if "target" not in batch:
            return self._naming_validation(batch)
        kinds = [self.user.kinds[(self._val_samples + i) % len(self.user.kinds)] for i in range(len(batch["data"]))]
        self._val_samples += len(kinds)
        rounds = self._rounds(batch, kinds)
        target = _to(batch["target"], self.device)
        curve = []
        for _ in range(self.config.max_rounds):
            rounds.prompt()
            output = self._forward(rounds.input)
            rounds.observe(finest(output))
            curve.append(rounds.dice())
        with self._autocast():
            loss = self.loss(output, target)
        logits = finest(output)
        hit = (logits[:, 1] > logits[:, 0], finest(target)[:, 0] > 0)
        tp, fp, fn = (np.array([int(x.sum())]) for x in (hit[0] & hit[1], hit[0] & ~hit[1], ~hit[0] & hit[1]))
        prompts = list(zip(kinds, curve[0].tolist(), curve[-1].tolist(), strict=True))
        return {"loss": loss.cpu().numpy(), "tp_hard": tp, "fp_hard": fp, "fn_hard": fn, "prompts": prompts}

    def on_validation_epoch_start(self) -> None:
        """As in nnU-Net."""
        super().on_validation_epoch_start()
        self._val_samples = self.local_rank  # ranks start at different types

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        """Log what nnU-Net logs (its pseudo Dice is the one after the last prompt), and Dice by interaction type."""
        prompts = self._gathered([entry for output in val_outputs for entry in output.pop("prompts")])
        super().on_validation_epoch_end(val_outputs)
        text = []
        for kind in (None, *KINDS):
            scores = np.array([entry[1:] for entry in prompts if kind in (None, entry[0])]).reshape(-1, 2)
            means = scores.mean(axis=0) if len(scores) else np.full(2, np.nan)
            for moment, mean in zip(MOMENTS, means, strict=True):
                self.logger.log(metric_name(moment, kind), float(mean), self.current_epoch)
            if len(scores):
                text.append(f"{kind or 'all'} {means[0]:.3f} -> {means[1]:.3f}")
        if text:
            self.print_to_log_file(f"Dice after 1 -> {self.config.max_rounds} prompts: {', '.join(text)}")

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Curves of Dice over interactions for every object of the validation cases.

        Writes ``validation/summary.json`` and ``validation/dice_over_interactions.png``.

        Args:
            save_probabilities: nnU-Net's ``--npz``; prompted predictions belong to an object, so none are saved.
        """
        if self.config.never_prompts:
            self.print_to_log_file("Nothing was prompted in this training, so there are no curves to validate.")
            return
        if save_probabilities:
            self.print_to_log_file("INFO: --npz does nothing here: what is predicted depends on the prompts.")
        self.set_deep_supervision_enabled(False)
        self.network.eval()
        dataset = self._open_dataset(self.do_split()[1])
        mine = dataset.identifiers[self.local_rank :: dist.get_world_size() if self.is_ddp else 1]
        results = {}
        for name in mine:
            results[name] = self._evaluate(dataset, name)
            self.print_to_log_file(f"validated {name}: {len(results[name])} objects")
        results = dict(sorted(self._gathered(list(results.items()))))
        if not any(results.values()):
            raise UserError("Not one case could be validated; the log says why.")
        if self.local_rank == 0:
            self._report(summarise(results, self.config.validation_interactions))
        self.set_deep_supervision_enabled(self.enable_deep_supervision)

    @property
    def image_channels(self) -> int:
        """Number of channels of the dataset's images."""
        return count_image_channels(self.dataset_json)

    def _open_dataset(self, cases: list[str]) -> PromptDataset:
        identifier = self.configuration_manager.data_identifier
        folder = supervoxel_folder(self.preprocessed_dataset_folder_base, identifier)
        return PromptDataset(
            self.preprocessed_dataset_folder, folder, cases, remedy(self.plans_manager, self.configuration_name)
        )

    def _augmentation(self) -> tuple[Sequence[int], BasicTransform]:
        """Size of the patches to read (z, y, x), and what is done to them, as the config says."""
        rotation, dummy_2d, initial_patch, mirror_axes = (
            self.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        )
        patch_size, scales = self.configuration_manager.patch_size, self._get_deep_supervision_scales()
        if self.config.augmentation == "nnunet":
            mask_for_norm = self.configuration_manager.use_mask_for_norm
            return initial_patch, self.get_training_transforms(
                patch_size, rotation, scales, mirror_axes, dummy_2d, use_mask_for_norm=mask_for_norm
            )
        plain = self.get_validation_transforms(scales)
        if self.config.augmentation == "none":
            self.inference_allowed_mirroring_axes = None  # stored in checkpoints
            return patch_size, plain
        return patch_size, ComposeTransforms([MirrorTransform(mirror_axes), plain])

    def _start(
        self, loader: PromptDataLoader, processes: int
    ) -> SingleThreadedAugmenter | NonDetMultiThreadedAugmenter:
        """The loader in as many worker processes, once the first batch is there."""
        if processes == 0 and get_allowed_n_proc_DA() == 0:
            running = SingleThreadedAugmenter(loader, None)
        else:
            processes = max(1, processes)
            running = NonDetMultiThreadedAugmenter(
                loader,
                None,
                processes,
                num_cached=max(3, processes // 2),
                pin_memory=self.device.type == "cuda",
                wait_time=0.002,
            )
        next(running)
        return running

    @property
    def _bare_network(self) -> nn.Module:
        """The network without DDP's wrapper."""
        return self.network.module if self.is_ddp else self.network

    def _nnunets_step(
        self, data: torch.Tensor, target: torch.Tensor | list[torch.Tensor], loss: Callable[..., torch.Tensor]
    ) -> dict:
        """One step of nnU-Net's with this loss."""
        usual = self.loss
        # Outputs and heads for naming take turns.
        weights = list(self.network.parameters()) if self.config.naming_fraction else []
        self.loss = lambda outputs, target: loss(outputs, target) + zero_of(weights)
        try:
            with self._autocast() if self.device.type == "cpu" else dummy_context():  # on GPUs, nnU-Net does it itself
                return super().train_step({"data": data, "target": target})
        finally:
            self.loss = usual

    def _naming_step(self, batch: dict) -> dict:
        """One step of nnU-Net's with its loss on classes in place of the object."""
        network = self._bare_network
        with outputs_of(network.decoder.stages) as features:

            def loss(_: torch.Tensor | list[torch.Tensor], classes: torch.Tensor | list) -> torch.Tensor:
                return self.naming_loss(self._supervised(network.naming(features)), classes)

            step = self._nnunets_step(without_prompts(_to(batch["data"], self.device)), batch["classes"], loss)
        return {"naming": step["loss"]}

    def _naming_validation(self, batch: dict) -> dict:
        """Loss, and hits and mistakes of every class."""
        network, classes = self._bare_network, _to(batch["classes"], self.device)
        with outputs_of(network.decoder.stages) as features:
            self._forward(without_prompts(_to(batch["data"], self.device)))
        with self._autocast(), torch.no_grad():
            named = network.naming(features)
            loss = self.naming_loss(self._supervised(named), classes)
        true, said, count = finest(classes)[:, 0].long(), named[0].argmax(1), named[0].shape[1]
        pairs = torch.bincount((true * count + said)[true != UNKNOWN], minlength=count**2)
        pairs = pairs.reshape(count, count).cpu().numpy()  # voxels by true and by named class
        tp = pairs.diagonal()[1:]
        fp, fn = pairs.sum(axis=0)[1:] - tp, pairs.sum(axis=1)[1:] - tp
        return {"loss": loss.cpu().numpy(), "tp_hard": tp, "fp_hard": fp, "fn_hard": fn, "prompts": []}

    def _supervised(self, outputs: list[torch.Tensor]) -> list[torch.Tensor] | torch.Tensor:
        """What nnU-Net's loss looks at: all scales, or the finest alone without deep supervision."""
        return outputs if self.enable_deep_supervision else outputs[0]

    def _do_i_compile(self) -> bool:
        # Compiled networks don't show what happens inside.
        return self.config.naming_fraction == 0 and super()._do_i_compile()

    def _rounds(self, batch: dict, kinds: list[str] | None = None) -> InteractionRounds:
        image = _to(batch["data"], self.device)
        target = finest(batch["target"])
        return InteractionRounds(image, target, self.user, self.config.interaction_decay, self.users_rng, kinds)

    def _autocast(self) -> AbstractContextManager:
        if self.device.type == "cpu":
            return autocast("cpu", torch.bfloat16, enabled=self.config.cpu_bfloat16)
        return autocast(self.device.type, enabled=True) if self.device.type == "cuda" else dummy_context()

    @torch.no_grad()
    def _forward(self, data: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        # Past DDP's wrapper, which has nothing to share without gradients.
        with self._autocast():
            return self._bare_network(data)

    def _predict(self, data: torch.Tensor) -> torch.Tensor:
        """Logits (b, 2, z, y, x) for an input (b, c + 7, z, y, x)."""
        return finest(self._forward(data))

    def _gathered(self, entries: list) -> list:
        """All ranks' entries."""
        if not self.is_ddp:
            return entries
        parts: list = [None] * dist.get_world_size()
        dist.all_gather_object(parts, entries)
        return [entry for part in parts for entry in part]

    def _evaluate(self, dataset: PromptDataset, name: str) -> list[ObjectResult]:
        """A case's results; none, and a line in the log, if it can't be read."""
        try:
            return evaluate_case(
                dataset.open_case(name),
                self._predict,
                self.user,
                self.config,
                self.configuration_manager.patch_size,
                self.device,
                self.real_label_manager.ignore_label,
            )
        except torch.cuda.OutOfMemoryError:
            raise
        except (UserError, RuntimeError, ValueError, OSError) as error:
            self.print_to_log_file(f"WARNING: {name} is left out of the validation: {error}")
            return []

    def _report(self, summary: dict) -> None:
        folder = Path(self.output_folder) / "validation"
        folder.mkdir(parents=True, exist_ok=True)
        save_json(summary, str(folder / "summary.json"), sort_keys=False)
        plot_curves(summary, folder / "dice_over_interactions.png")
        for source, mean in summary["mean"].items():
            curve = ", ".join(f"{value:.3f}" for value in mean["dice"])
            self.print_to_log_file(f"Mean Dice over interactions, {mean['objects']} {source}s: {curve}")
            self.logger.log_summary(f"final_val/{source}_dice", mean["dice"][-1])
        self.print_to_log_file(f"Validation complete: {folder / 'summary.json'}")


def _check_configuration(plans: dict, configuration: str) -> None:
    try:
        manager = PlansManager(plans).get_configuration(configuration)
    except (RuntimeError, KeyError) as error:
        known = ", ".join(plans.get("configurations", {}))
        raise UserError(
            f"The plans '{plans.get('plans_name')}' have no configuration '{configuration}' (they have: {known})."
        ) from error
    if len(manager.patch_size) != 3:
        raise UserError(
            f"Configuration '{configuration}' is 2D, but prompts are trained in 3D; take 3d_fullres or 3d_lowres."
        )
    if manager.previous_stage_name is not None:
        raise UserError(
            f"Configuration '{configuration}' is the second stage of a cascade, which prompts don't have; "
            "take 3d_fullres or 3d_lowres."
        )


def _to(data: torch.Tensor | list[torch.Tensor], device: torch.device) -> torch.Tensor | list[torch.Tensor]:
    if isinstance(data, list):
        return [part.to(device, non_blocking=True) for part in data]
    return data.to(device, non_blocking=True)
