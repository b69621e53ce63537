"""A trained model in nnInteractive's own session: the same input, hence the same answer."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nnunetv2_supervoxel.prompts.encoding import add_interaction
from nnunetv2_supervoxel.prompts.lasso import draw_lasso
from nnunetv2_supervoxel.prompts.point import draw_point


@pytest.fixture
def session(make_trainer, prompt_training):
    """nnInteractive's session with the network of a trainer; image and patch have one size."""
    inference = pytest.importorskip("nnInteractive.inference.inference_session")
    prompt_training(interaction_decay=0.9)
    trainer = make_trainer()
    folder = Path(trainer.output_folder_base)
    trainer.on_train_start()
    trainer.save_checkpoint(str(folder / "fold_all" / "checkpoint_final.pth"))
    settings = json.loads((folder / "fold_all" / "prompt_training.json").read_text())
    info = {"point_radius": settings["point_radius"], "interaction_decay": settings["interaction_decay"]}
    (folder / "inference_info.json").write_text(json.dumps(info))
    session = inference.nnInteractiveInferenceSession(device=torch.device("cpu"), do_autozoom=False)
    session.initialize_from_trained_model_folder(str(folder), "all")
    trainer.set_deep_supervision_enabled(False)
    return session, trainer


def test_the_session_predicts_what_the_trainer_does(session):
    session, trainer = session
    shape = tuple(trainer.configuration_manager.patch_size)
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, *shape)).astype(np.float32)
    session.set_image(image)
    session.set_target_buffer(np.zeros(shape, np.uint8))
    target = np.zeros(shape, bool)
    target[4:11, 6:18, 9:25] = True

    channels = torch.zeros(7, *shape)
    normalised = torch.from_numpy((image - image.mean()) / image.std())
    for draw, region in ((draw_point, target), (draw_lasso, ~target)):
        # The session's patch lies around the prompt: only one in the middle has the trainer's patch.
        interaction = draw(target, _middle_of(region), rng)
        add_interaction(channels, interaction, 0.9)
        _prompt(session, interaction, shape)
        logits = trainer.predict(torch.cat((normalised, channels))[None])
        expected = logits.argmax(1)[0]
        channels[0] = expected
        answer = session.interactions[0].float()
        assert 0 < expected.float().mean() < 1
        assert (answer == expected).float().mean() > 0.995  # the session holds its channels in half precision


def _middle_of(region):
    middle = np.zeros_like(region)
    centre = tuple(slice(size // 2, size // 2 + 1) for size in region.shape)
    middle[centre] = True
    return middle


def _prompt(session, interaction, shape):
    if interaction.kind == "point":
        session.add_point_interaction(interaction.centre, interaction.positive)
        return
    image = np.zeros(shape, np.uint8)
    box = tuple(slice(o, o + s) for o, s in zip(interaction.origin, interaction.stamp.shape, strict=True))
    image[box] = interaction.stamp
    session.add_lasso_interaction(image, interaction.positive)
