"""For nnUNet_extTrainer: SupervoxelPretrainTrainer, and one trainer for each usual number of epochs."""

from nnunetv2_supervoxel.config import PretrainingConfig
from nnunetv2_supervoxel.config.base import Config
from nnunetv2_supervoxel.config.loading import check_settings
from nnunetv2_supervoxel.errors import tell_user_errors_plainly
from nnunetv2_supervoxel.training.objectives import find_objective
from nnunetv2_supervoxel.training.objectives.base import Objective
from nnunetv2_supervoxel.training.trainer import SupervoxelTrainer

tell_user_errors_plainly()


class SupervoxelPretrainTrainer(SupervoxelTrainer):
    """Learns features for fine-tuning, without prompts. Settings: `PretrainingConfig`, and those of its objective."""

    config_class = PretrainingConfig
    config: PretrainingConfig

    def choose_objective(self) -> tuple[type[Objective], Config]:
        """The objective that the config names."""
        kind = find_objective(self.config.objective)
        complaint = f"'objective_settings' of {self.config.objective} in the training config are wrong"
        return kind, check_settings(self.config.objective_settings, kind.Settings, complaint)


class SupervoxelPretrainTrainer_1epoch(SupervoxelPretrainTrainer):
    fixed_epochs = 1


class SupervoxelPretrainTrainer_5epochs(SupervoxelPretrainTrainer):
    fixed_epochs = 5


class SupervoxelPretrainTrainer_10epochs(SupervoxelPretrainTrainer):
    fixed_epochs = 10


class SupervoxelPretrainTrainer_20epochs(SupervoxelPretrainTrainer):
    fixed_epochs = 20


class SupervoxelPretrainTrainer_50epochs(SupervoxelPretrainTrainer):
    fixed_epochs = 50


class SupervoxelPretrainTrainer_100epochs(SupervoxelPretrainTrainer):
    fixed_epochs = 100


class SupervoxelPretrainTrainer_250epochs(SupervoxelPretrainTrainer):
    fixed_epochs = 250


class SupervoxelPretrainTrainer_500epochs(SupervoxelPretrainTrainer):
    fixed_epochs = 500


class SupervoxelPretrainTrainer_2000epochs(SupervoxelPretrainTrainer):
    fixed_epochs = 2000


class SupervoxelPretrainTrainer_4000epochs(SupervoxelPretrainTrainer):
    fixed_epochs = 4000


class SupervoxelPretrainTrainer_8000epochs(SupervoxelPretrainTrainer):
    fixed_epochs = 8000
