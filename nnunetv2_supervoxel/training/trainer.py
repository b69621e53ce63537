"""nnU-Net's trainer on supervoxels: config, datasets, loaders and steps. An objective decides what is learned."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, ClassVar

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA
from nnunetv2.utilities.helpers import dummy_context
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import autocast, nn

from nnunetv2_supervoxel.config import PromptTrainingConfig, TrainingConfig, find_config, load_config
from nnunetv2_supervoxel.config.base import Config
from nnunetv2_supervoxel.config.loading import check_settings
from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.export.start_model import StartModel, load_into, mix_into
from nnunetv2_supervoxel.files.preprocessed import count_image_channels
from nnunetv2_supervoxel.files.supervoxel_files import supervoxel_folder
from nnunetv2_supervoxel.prompts.encoding import NUM_CHANNELS
from nnunetv2_supervoxel.threads_and_heap import take_threads_asked_for
from nnunetv2_supervoxel.training.augmentation import augmentation
from nnunetv2_supervoxel.training.dataloader import Augmenter, PromptDataLoader, start_loader
from nnunetv2_supervoxel.training.dataset import LabelUse, PromptDataset
from nnunetv2_supervoxel.training.further_datasets import open_further_dataset, remedy
from nnunetv2_supervoxel.training.objectives.base import HEADS, Objective
from nnunetv2_supervoxel.training.plans import check_configuration
from nnunetv2_supervoxel.training.record import CONFIG_VARIABLE, compare_with_record, write_record
from nnunetv2_supervoxel.training.sampling import Sampler, Scales, finest
from nnunetv2_supervoxel.training.start import check_weights_are, open_start_model, with_settings_of
from nnunetv2_supervoxel.training.warm_up import WarmUpPolyLR


class SupervoxelTrainer(nnUNetTrainer):
    """nnU-Net's trainer with an objective in place of labels.

    Whatever the network learns, it takes image and interaction channels, and has two outputs, background and object. So
    one export serves every objective. The environment variable ``nnUNet_supervoxel_training_config`` names the YAML
    file (or the template) with the settings.

    Attributes:
        config_class: the class of the settings.
        config: the settings.
        start_model: whose weights the training starts from; None: from scratch.
        fixed_epochs: number of epochs of the trainers that are named after it. It replaces the config's number.

    Raises:
        UserError: a wrong config; plans or a configuration that can't be trained here.
    """

    config_class: ClassVar[type[TrainingConfig]]
    config: TrainingConfig
    start_model: StartModel | None
    label_manager: LabelManager
    loss: Callable[[Scales, Scales], torch.Tensor]
    fixed_epochs: int | None = None

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int | str,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008, nnU-Net's signature
    ) -> None:
        named = os.environ.get(CONFIG_VARIABLE)
        kind = self.config_class
        self.config = load_config(find_config(named, kind.name), kind) if named else kind()
        if self.fixed_epochs:
            settings = self.config.model_dump(exclude_unset=True) | {"num_epochs": self.fixed_epochs}
            self.config = check_settings(settings, kind, f"The training config is wrong for {type(self).__name__}")
        check_configuration(plans, configuration)
        self._notes: list[str] = []
        self.start_model = None
        self._is_mixed = False  # whether the weights are what a training ended with
        if isinstance(self.config, PromptTrainingConfig):
            self.start_model = open_start_model(self.config, plans, configuration, dataset_json)
            if self.start_model:
                self.config, self._notes = with_settings_of(self.start_model, self.config)
        # Mistakes are reported before nnU-Net makes the output folder.
        objective, its_settings = self.choose_objective()
        super().__init__(plans, configuration, fold, dataset_json, device)
        take_threads_asked_for()
        self.num_epochs = self.config.num_epochs
        self.num_iterations_per_epoch = self.config.num_iterations_per_epoch
        self.num_val_iterations_per_epoch = self.config.num_val_iterations_per_epoch
        self.initial_lr = self.config.initial_lr
        if self.config.batch_size:
            self.configuration_manager.configuration["batch_size"] = self.config.batch_size
        # Loss, augmentation and metrics follow the label manager: here there is one object.
        self.real_label_manager = self.label_manager
        self.label_manager = self.plans_manager.get_label_manager({"labels": {"background": 0, "object": 1}})
        self.objective = objective(self, its_settings)

    @abstractmethod
    def choose_objective(self) -> tuple[type[Objective], Config]:
        """What the network should learn, and the settings of that, as the config says."""

    @staticmethod
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """The plans' network, with the interaction channels after `num_input_channels` image channels.

        It has two outputs, whatever number of labels a caller (nnU-Net's predictor) found.
        """
        return nnUNetTrainer.build_network_architecture(
            plans_manager, configuration_manager, num_input_channels + NUM_CHANNELS, 2, enable_deep_supervision
        )

    def initialize(self) -> None:
        """Build everything, as nnU-Net does."""
        super().initialize()
        self.num_input_channels += NUM_CHANNELS
        self.print_to_log_file(f"{type(self).__name__}: {self.config.model_dump_json()}")
        for note in (*self._notes, *self.objective.notes()):
            self.print_to_log_file(f"INFO: {note}")
        if self.start_model:
            load_into(self._network_alone(), self.start_model)

    def _network_alone(self) -> torch.nn.Module:
        """The network without what DDP and torch.compile wrap it in."""
        return getattr(self.bare_network, "_orig_mod", self.bare_network)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, WarmUpPolyLR]:
        """The config's optimizer under nnU-Net's schedule, after a warm-up if the config asks for one.

        nnU-Net calls this after it has built the network and before DDP wraps it. So the network gets the objective's
        heads here.
        """
        network = self.bare_network
        if not hasattr(network, HEADS) and (heads := self.objective.heads(network.decoder)) is not None:
            setattr(network, HEADS, heads.to(self.device))
        if self.config.optimizer == "sgd":
            optimizer, _ = super().configure_optimizers()
        else:
            parameters = self.network.parameters()
            optimizer = torch.optim.AdamW(parameters, self.initial_lr, weight_decay=self.weight_decay)
        return optimizer, WarmUpPolyLR(optimizer, self.initial_lr, self.num_epochs, self.config.warmup_epochs)

    def on_train_start(self) -> None:
        """As in nnU-Net. The settings are also written, beside debug.json, where an export finds them.

        Raises:
            UserError: there is nothing to train on, or weights were given besides those of the start model. Then
                nothing is left of a training that has only just begun.
        """
        try:
            if self.start_model and self.was_initialized and self.current_epoch == 0:
                check_weights_are(self.start_model, self._network_alone())
            super().on_train_start()
        except UserError:
            self._forget_log()
            raise
        if self.local_rank == 0:
            start = self.start_model.provenance if self.start_model else None
            write_record(Path(self.output_folder), self.config, start, begins=self.current_epoch == 0)

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        """As in nnU-Net, which calls this for ``--c`` and ``--val``. Settings that have changed since are logged.

        Raises:
            UserError: see `compare_with_record`.
        """
        named = bool(os.environ.get(CONFIG_VARIABLE))
        for note in compare_with_record(Path(self.output_folder), self.config, named):
            self.print_to_log_file(f"INFO: {note}")
        super().load_checkpoint(filename_or_checkpoint)
        self._is_mixed = Path(str(filename_or_checkpoint)).name == "checkpoint_final.pth"

    def _forget_log(self) -> None:
        """Remove nnU-Net's log, and the folders that were made for it, if nothing else is in them."""
        folder = Path(self.output_folder)
        if self.local_rank == 0 and [path.name for path in folder.iterdir()] == [Path(self.log_file).name]:
            Path(self.log_file).unlink()
            with suppress(OSError):  # other folds or trainings are there
                for made in (folder, folder.parent, folder.parents[1]):
                    made.rmdir()

    def get_tr_and_val_datasets(self) -> tuple[list[PromptDataset], PromptDataset]:
        """Training datasets (the command line's, then the config's further ones) and the validation dataset.

        Raises:
            UserError: no training or no validation case of the fold has what the objective needs; a further dataset
                doesn't fit.
        """
        labels = self.objective.label_use(training=True)
        names = self.plans_manager.plans_name, self.configuration_name
        train = [self._open_dataset(self.do_split()[0], labels)]
        train += [open_further_dataset(name, *names, self.image_channels, labels) for name in self.config.datasets]
        return train, self.open_validation_dataset()

    def open_validation_dataset(self) -> PromptDataset:
        """The fold's validation cases.

        Raises:
            UserError: none of them has what the objective needs.
        """
        return self._open_dataset(self.do_split()[1], self.objective.label_use(training=False))

    def get_dataloaders(self) -> tuple[Augmenter, Augmenter]:
        """Running loaders for training and validation, with nnU-Net's augmentation and number of workers."""
        train, validation = self.get_tr_and_val_datasets()
        samplers = self.objective.samplers(train, validation)
        initial_patch, training = augmentation(self)
        plain = self.get_validation_transforms(self._get_deep_supervision_scales())
        patch_size = self.configuration_manager.patch_size
        train_loader = self._loader(train, initial_patch, training, samplers[0])
        train_loader.mark_outside = any(self.configuration_manager.use_mask_for_norm)
        val_loader = self._loader([validation], patch_size, plain, samplers[1])
        processes = get_allowed_n_proc_DA()
        fewer = max(1, processes // 2) if processes else 0
        on_gpu = self.device.type == "cuda"
        return start_loader(train_loader, processes, on_gpu), start_loader(val_loader, fewer, on_gpu)

    def on_train_epoch_start(self) -> None:
        """As in nnU-Net."""
        super().on_train_epoch_start()
        self._is_mixed = False
        self.objective.on_train_epoch_start(self.current_epoch)

    def train_step(self, batch: dict) -> dict:
        """One step of the objective."""
        return self.objective.train_step(batch)

    def on_validation_epoch_start(self) -> None:
        """As in nnU-Net."""
        super().on_validation_epoch_start()
        self.objective.on_validation_epoch_start()

    def validation_step(self, batch: dict) -> dict:
        """The objective's validation of one batch."""
        return self.objective.validation_step(batch)

    def on_validation_epoch_end(self, val_outputs: list[dict]) -> None:
        """As in nnU-Net, after the objective has logged its own values."""
        self.objective.on_validation_epoch_end(val_outputs)
        super().on_validation_epoch_end(val_outputs)

    def on_train_end(self) -> None:
        """As in nnU-Net. Before the final weights are saved, the start model's share is mixed in."""
        share = self.config.start_share if isinstance(self.config, PromptTrainingConfig) else 0.0
        if self.start_model and share and not self._is_mixed:
            mix_into(self._network_alone(), self.start_model, share)
            self.print_to_log_file(f"INFO: {share:g} of the final weights is the start model's")
        super().on_train_end()

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """The objective's final validation.

        Args:
            save_probabilities: nnU-Net's ``--npz``; there is no prediction of a whole case to save.
        """
        if save_probabilities:
            self.print_to_log_file("INFO: --npz does nothing here: no whole case is predicted.")
        self.set_deep_supervision_enabled(False)
        self.network.eval()
        self.objective.validate()
        self.set_deep_supervision_enabled(self.enable_deep_supervision)

    @property
    def image_channels(self) -> int:
        """Number of channels of the dataset's images."""
        return count_image_channels(self.dataset_json)

    @property
    def bare_network(self) -> Any:
        """nnU-Net's network (its classes have no type hints) without DDP's wrapper."""
        return self.network.module if self.is_ddp else self.network

    def step(self, data: torch.Tensor, target: Scales, loss: Callable[[Scales, Scales], torch.Tensor]) -> dict:
        """One training step as in nnU-Net, but with `loss` of the network's outputs and the target."""
        usual, self.loss = self.loss, loss
        try:
            with self.autocast() if self.device.type == "cpu" else dummy_context():  # on GPUs, nnU-Net does it itself
                return super().train_step({"data": data, "target": target})
        finally:
            self.loss = usual

    @torch.no_grad()
    def forward(self, data: torch.Tensor, network: nn.Module | None = None) -> Scales:
        """Outputs for an input (b, c + 7, z, y, x), without gradients; of the trained network, or of another one."""
        # DDP's wrapper is left out: without gradients it has nothing to share.
        with self.autocast():
            return (network or self.bare_network)(data)

    def predict(self, data: torch.Tensor, network: nn.Module | None = None) -> torch.Tensor:
        """Logits (b, 2, z, y, x) for an input (b, c + 7, z, y, x); of the trained network, or of another one."""
        return finest(self.forward(data, network))

    def start_network(self) -> nn.Module | None:
        """The network as it was when the training started from a model, for predictions; None if it started afresh."""
        if self.start_model is None:
            return None
        network = self.build_network_architecture(
            self.plans_manager, self.configuration_manager, self.image_channels, 2, enable_deep_supervision=False
        )
        load_into(network, self.start_model)
        return network.to(self.device).eval()

    def autocast(self) -> AbstractContextManager:
        """nnU-Net's mixed precision on GPUs; on a CPU bfloat16, if the config says so."""
        if self.device.type == "cpu":
            return autocast("cpu", torch.bfloat16, enabled=self.config.cpu_bfloat16)
        return autocast(self.device.type, enabled=True) if self.device.type == "cuda" else dummy_context()

    def _build_loss(self) -> nn.Module:
        return self.objective.loss(super()._build_loss())

    def _do_i_compile(self) -> bool:
        return not self.objective.needs_features and super()._do_i_compile()

    def _open_dataset(self, cases: list[str], labels: LabelUse) -> PromptDataset:
        folder = supervoxel_folder(self.preprocessed_dataset_folder_base, self.configuration_manager.data_identifier)
        advice = remedy(self.plans_manager, self.configuration_name)
        unknown = self.real_label_manager.ignore_label
        return PromptDataset(self.preprocessed_dataset_folder, folder, cases, advice, labels, unknown)

    def _loader(
        self, datasets: list[PromptDataset], patch_size: Sequence[int], transforms: BasicTransform, sampler: Sampler
    ) -> PromptDataLoader:
        return PromptDataLoader(
            datasets,
            self.batch_size,
            patch_size,
            self.configuration_manager.patch_size,
            transforms,
            sampler=sampler,
            weights=[1.0, *self.config.datasets.values()][: len(datasets)],
            real_label_fraction=self.objective.real_label_fraction,
            min_target_voxels=self.config.min_target_voxels,
            max_shift=self.config.max_patch_shift,
        )
