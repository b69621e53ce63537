"""The channels, voxel by voxel against the installed nnInteractive package."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nnunetv2_supervoxel.prompts.box import draw_box
from nnunetv2_supervoxel.prompts.encoding import NUM_CHANNELS, PREVIOUS_SEGMENTATION, add_interaction
from nnunetv2_supervoxel.prompts.lasso import draw_lasso
from nnunetv2_supervoxel.prompts.point import draw_point, point_at, point_stamp
from nnunetv2_supervoxel.prompts.scribble import draw_scribble

SHAPE = (18, 27, 40)
DECAY = 0.9


@pytest.fixture
def session():
    """nnInteractive's session on an image, without a network: it takes prompts, but isn't asked to predict."""
    inference = pytest.importorskip("nnInteractive.inference.inference_session")
    point = pytest.importorskip("nnInteractive.interaction.point")
    session = inference.nnInteractiveInferenceSession(device=torch.device("cpu"), interactions_storage="tensor")
    session._apply_capability({})
    session.interaction_decay = DECAY
    session.point_interaction = point.PointInteraction_stub(4, True)
    session.configuration_manager = SimpleNamespace(patch_size=(16, 24, 32))
    session.set_image(np.random.default_rng(0).normal(size=(1, *SHAPE)))
    session._finish_preprocessing_and_initialize_interactions()
    return session


def prompt_session(session, interaction):
    if interaction.kind == "point":
        session.add_point_interaction(interaction.centre, interaction.positive, run_prediction=False)
    elif interaction.kind == "box":
        box = [[o, o + s] for o, s in zip(interaction.origin, interaction.stamp.shape, strict=True)]
        session.add_bbox_interaction(box, interaction.positive, run_prediction=False)
    else:
        image = np.zeros(SHAPE, np.uint8)
        image[tuple(slice(o, o + s) for o, s in zip(interaction.origin, interaction.stamp.shape, strict=True))] = (
            interaction.stamp
        )
        add = {"scribble": session.add_scribble_interaction, "lasso": session.add_lasso_interaction}[interaction.kind]
        add(image, interaction.positive, run_prediction=False)


def network_view(session):
    channels = session.interactions.clone().float()
    session._normalize_interaction_channels_for_network_(channels)
    return channels.numpy()


def ellipsoid(centre, radii):
    grid = np.ogrid[tuple(slice(size) for size in SHAPE)]
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) < 1


TARGET = ellipsoid((8, 12, 16), (5, 8, 11))
ELSEWHERE = ellipsoid((12, 14, 33), (4, 9, 5)) & ~TARGET


@pytest.mark.parametrize("draw", [draw_point, draw_box, draw_scribble, draw_lasso])
@pytest.mark.parametrize("region", [TARGET, ELSEWHERE], ids=["positive", "negative"])
def test_one_interaction_is_the_sessions(session, draw, region):
    interaction = draw(TARGET, region, np.random.default_rng(3))
    assert interaction.positive == (region is TARGET)
    channels = torch.zeros(NUM_CHANNELS, *SHAPE)
    add_interaction(channels, interaction, DECAY)
    prompt_session(session, interaction)
    theirs = network_view(session)
    assert theirs.any()
    np.testing.assert_allclose(channels.numpy(), theirs, atol=2e-3)


def test_a_long_session_fades_as_the_sessions(session):
    rng = np.random.default_rng(5)
    channels, knowing = torch.zeros(2, NUM_CHANNELS, *SHAPE)
    earlier = []
    for round_number in range(12):
        draw = (draw_point, draw_lasso, draw_scribble, draw_box)[round_number % 4]
        interaction = draw(TARGET, ELSEWHERE if round_number % 3 else TARGET, rng)
        add_interaction(channels, interaction, DECAY)
        add_interaction(knowing, interaction, DECAY, earlier)
        earlier += [interaction, None]
        prompt_session(session, interaction)
    theirs = network_view(session)
    np.testing.assert_allclose(channels.numpy(), theirs, atol=4e-3)
    assert torch.equal(knowing, channels)
    assert 0 < channels[channels > 0].min() < 0.9**9


@pytest.mark.parametrize("position", [(0, 0, 0), (17, 26, 39), (9, 13, 20), (2, 25, 1)])
@pytest.mark.parametrize("radius", [1, 2, 4, 7])
def test_points_are_nninteractives(position, radius):
    point = pytest.importorskip("nnInteractive.interaction.point")
    theirs = point.PointInteraction_stub(radius, True).place_point(position, torch.zeros(SHAPE))
    channels = torch.zeros(NUM_CHANNELS, *SHAPE)
    add_interaction(channels, point_at(position, True, radius), 1.0)
    np.testing.assert_allclose(channels[3].numpy(), theirs.numpy(), atol=1e-6)
    assert channels[3][position] == 1
    assert not channels[[0, 1, 2, 4, 5, 6]].any()


def test_channels_by_type_and_sign():
    where = {"box": (1, 2), "lasso": (1, 2), "point": (3, 4), "scribble": (5, 6)}
    for draw in (draw_point, draw_box, draw_scribble, draw_lasso):
        for region, sign in ((TARGET, 0), (ELSEWHERE, 1)):
            interaction = draw(TARGET, region, np.random.default_rng(1))
            channels = torch.zeros(NUM_CHANNELS, *SHAPE)
            add_interaction(channels, interaction, 0.5)
            used = {channel for channel in range(NUM_CHANNELS) if channels[channel].any()}
            assert used == {where[interaction.kind][sign]}


def test_the_previous_segmentation_does_not_fade():
    channels = torch.zeros(NUM_CHANNELS, *SHAPE)
    channels[PREVIOUS_SEGMENTATION] = torch.from_numpy(TARGET.astype(np.float32))
    channels[5, 3, 4, 5] = 1
    add_interaction(channels, point_at((8, 12, 16), True), 0.5)
    assert np.array_equal(channels[PREVIOUS_SEGMENTATION].numpy(), TARGET)
    assert channels[5, 3, 4, 5] == 0.5
    assert channels[3, 8, 12, 16] == 1


def test_a_prompt_beyond_the_volume_only_fades_the_others():
    channels = torch.full((NUM_CHANNELS, *SHAPE), 0.5)
    add_interaction(channels, point_at((8, 12, 60), True), 0.5)
    assert (channels[0] == 0.5).all()
    assert (channels[1:] == 0.25).all()


def test_the_point_stamp_falls_from_one_at_its_centre():
    stamp = point_stamp(4)
    assert stamp.shape == (9, 9, 9)
    assert stamp[4, 4, 4] == 1
    assert (np.diff(stamp[4, 4, 4:]) < 0).all()
    assert stamp[0, 0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        stamp[0, 0, 0] = 1
