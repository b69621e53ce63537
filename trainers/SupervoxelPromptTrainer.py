"""For nnUNet_extTrainer: SupervoxelPromptTrainer, and one trainer for each usual number of epochs."""

from nnunetv2_supervoxel.config import PromptTrainingConfig
from nnunetv2_supervoxel.config.base import Config
from nnunetv2_supervoxel.errors import tell_user_errors_plainly
from nnunetv2_supervoxel.training.objectives.base import Objective
from nnunetv2_supervoxel.training.objectives.prompting import Prompting
from nnunetv2_supervoxel.training.trainer import SupervoxelTrainer

tell_user_errors_plainly()


class SupervoxelPromptTrainer(SupervoxelTrainer):
    """Learns to segment what simulated users point at; for nnInteractive. Settings: `PromptTrainingConfig`."""

    config_class = PromptTrainingConfig
    config: PromptTrainingConfig

    def choose_objective(self) -> tuple[type[Objective], Config]:
        """Segment what simulated users point at."""
        return Prompting, self.config


class SupervoxelPromptTrainer_1epoch(SupervoxelPromptTrainer):
    fixed_epochs = 1


class SupervoxelPromptTrainer_5epochs(SupervoxelPromptTrainer):
    fixed_epochs = 5


class SupervoxelPromptTrainer_10epochs(SupervoxelPromptTrainer):
    fixed_epochs = 10


class SupervoxelPromptTrainer_20epochs(SupervoxelPromptTrainer):
    fixed_epochs = 20


class SupervoxelPromptTrainer_50epochs(SupervoxelPromptTrainer):
    fixed_epochs = 50


class SupervoxelPromptTrainer_100epochs(SupervoxelPromptTrainer):
    fixed_epochs = 100


class SupervoxelPromptTrainer_250epochs(SupervoxelPromptTrainer):
    fixed_epochs = 250


class SupervoxelPromptTrainer_500epochs(SupervoxelPromptTrainer):
    fixed_epochs = 500


class SupervoxelPromptTrainer_2000epochs(SupervoxelPromptTrainer):
    fixed_epochs = 2000


class SupervoxelPromptTrainer_4000epochs(SupervoxelPromptTrainer):
    fixed_epochs = 4000


class SupervoxelPromptTrainer_8000epochs(SupervoxelPromptTrainer):
    fixed_epochs = 8000
