"""The final validation on a case whose objects are known, with a network that does exactly as it is told."""

from pathlib import Path

import matplotlib
import numpy as np
import torch

from nnunetv2_supervoxel.config import PromptTrainingConfig
from nnunetv2_supervoxel.prompts.encoding import POSITIVE_NEGATIVE
from nnunetv2_supervoxel.prompts.user import SimulatedUser
from nnunetv2_supervoxel.training.dataset import PromptCase
from nnunetv2_supervoxel.training.evaluation import Draw, ObjectResult, evaluate_case, plot_curves, summarise
from nnunetv2_supervoxel.training.rounds import InteractionRounds

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


def evaluated(draw: Draw | None = None) -> list[ObjectResult]:
    case = PromptCase(
        "case",
        image=np.full((1, *SHAPE), 3, np.float32),
        segmentation=LABEL[None].astype(np.int16),
        supervoxels=np.stack([INNER, SHELL, BESIDE]).astype(np.uint8),
        supervoxel_locations={},
        label_locations={},
    )
    config = PromptTrainingConfig(interactions={"point": 1.0}, validation_interactions=1, min_target_voxels=20)
    user = SimulatedUser({"point": 1.0}, 4)
    return evaluate_case(case, obedient, user, config, SHAPE, torch.device("cpu"), draw=draw)


def test_pictures_are_drawn_of_what_was_prompted_and_predicted() -> None:
    drawn = []

    def draw(image: np.ndarray, target: np.ndarray, rounds: InteractionRounds) -> bytes:
        (prompt,) = rounds.given[0]
        drawn.append((image, target, rounds.prediction(0), target[prompt.centre]))
        return b"picture %d" % len(drawn)

    results = evaluated(draw)
    assert [result.picture for result in results] == [b"picture 1", b"picture 2", b"picture 3", b"picture 4"]
    for (image, target, prediction, hit), truth in zip(drawn, (INNER, SHELL, BESIDE, LABEL), strict=True):
        assert image.shape == SHAPE
        assert (image == 3).all()
        np.testing.assert_array_equal(target, truth)
        assert hit
        assert prediction.any()
    np.testing.assert_array_equal(drawn[0][2], INNER)


def test_nothing_is_corrected_or_counted_where_labels_say_unknown() -> None:
    """Half of what the network outlines is labelled, half is of the ignore label."""
    segmentation = np.where(LABEL, 2, 0)
    segmentation[:5][LABEL[:5]] = 1
    case = PromptCase(
        "case",
        image=np.full((1, *SHAPE), 3, np.float32),
        segmentation=segmentation[None].astype(np.int16),
        supervoxels=LABEL[None].astype(np.uint8),
        supervoxel_locations={},
        label_locations={},
        ignore_label=2,
    )
    config = PromptTrainingConfig(interactions={"point": 1.0}, validation_interactions=2, min_target_voxels=20)
    user = SimulatedUser({"point": 1.0}, 4)
    supervoxel, label = evaluate_case(case, obedient, user, config, SHAPE, torch.device("cpu"))
    assert (label.source, label.key, label.voxels) == ("label", 1, np.count_nonzero(LABEL[:5]))
    for result in (supervoxel, label):
        assert (result.dice, result.interactions) == ([1.0, 1.0], ["point+", "none"])


def test_another_object_is_of_the_same_source_and_does_not_hold_the_first() -> None:
    inner, shell, beside, label = evaluated()
    assert inner.picture == b""
    sizes = [np.count_nonzero(mask) for mask in (INNER, BESIDE, SHELL)]
    assert inner.dice == [1.0]
    assert inner.other == {"voxels": sizes[1], "dice_with_other": 1.0, "dice_with_this": 0.0}  # not SHELL, not LABEL
    assert shell.other["voxels"] == sizes[1]
    assert beside.other["voxels"] == sizes[2]
    assert label.other is None


def test_a_style_that_others_set_has_no_effect_on_the_plot(tmp_path: Path) -> None:
    summary = summarise({"case": evaluated()}, 1)
    plot_curves(summary, tmp_path / "usual.png")
    with matplotlib.rc_context({"font.size": 40, "lines.markersize": 9}):
        plot_curves(summary, tmp_path / "styled.png")
    assert (tmp_path / "usual.png").read_bytes() == (tmp_path / "styled.png").read_bytes()
