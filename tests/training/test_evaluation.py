"""The final validation on a case whose objects are known, with a network that does exactly as it is told."""

import numpy as np
import torch

from nnunetv2_supervoxel.config import PromptTrainingConfig
from nnunetv2_supervoxel.prompts.encoding import POSITIVE_NEGATIVE
from nnunetv2_supervoxel.prompts.user import SimulatedUser
from nnunetv2_supervoxel.training.dataset import PromptCase
from nnunetv2_supervoxel.training.evaluation import evaluate_case

SHAPE = (12, 20, 28)


def cuboid(*sides: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


INNER, BESIDE = cuboid((4, 8), (4, 9), (3, 9)), cuboid((3, 9), (12, 19), (16, 26))
SHELL = cuboid((1, 11), (1, 19), (1, 14))  # holds INNER
LABEL = cuboid((0, 12), (0, 20), (14, 28)) & ~BESIDE


def obedient(data: torch.Tensor) -> torch.Tensor:
    """The smallest object under the first point, as logits."""
    point = np.unravel_index(int(data[0, 1 + POSITIVE_NEGATIVE["point"][0]].argmax()), SHAPE)
    meant = min((mask for mask in (INNER, BESIDE, SHELL, LABEL) if mask[point]), key=np.count_nonzero)
    inside = torch.from_numpy(meant)
    return torch.stack([(~inside).float(), inside.float()])[None]


def test_another_object_is_of_the_same_source_and_does_not_hold_the_first() -> None:
    case = PromptCase(
        "case",
        image=np.zeros((1, *SHAPE), np.float32),
        segmentation=LABEL[None].astype(np.int16),
        supervoxels=np.stack([INNER, SHELL, BESIDE]).astype(np.uint8),
        supervoxel_locations={},
        label_locations={},
    )
    config = PromptTrainingConfig(interactions={"point": 1.0}, validation_interactions=1, min_target_voxels=20)
    results = evaluate_case(case, obedient, SimulatedUser({"point": 1.0}, 4), config, SHAPE, torch.device("cpu"))
    inner, shell, beside, label = results
    sizes = [np.count_nonzero(mask) for mask in (INNER, BESIDE, SHELL)]
    assert inner.dice == [1.0]
    assert inner.other == {"voxels": sizes[1], "dice_with_other": 1.0, "dice_with_this": 0.0}  # not SHELL, not LABEL
    assert shell.other["voxels"] == sizes[1]
    assert beside.other["voxels"] == sizes[2]
    assert label.other is None
