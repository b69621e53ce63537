"""Configs made up at random: those that are valid run, of others the key is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnunetv2_supervoxel import GenerationConfig, SupervoxelGenerator, UserError
from nnunetv2_supervoxel.config import PretrainingConfig, PromptTrainingConfig, load_config

quick = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CONFIGS = (GenerationConfig, PromptTrainingConfig, PretrainingConfig)

numbers = st.one_of(
    st.integers(-3, 300), st.integers(), st.floats(), st.floats(0, 1), st.sampled_from([0, 1, 0.5, 100, 1e300, -0.0])
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=8), st.sampled_from(["auto", "bundled", "random"])),
    lambda inside: st.one_of(st.lists(inside, max_size=4), st.dictionaries(st.text(max_size=5), inside, max_size=3)),
    max_leaves=6,
)


def read(content: object, config_class: type, folder: Path) -> Any:
    (folder / "config.yaml").write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return load_config(folder / "config.yaml", config_class)


def outcome(content: object, config_class: type, folder: Path) -> tuple[Any, str]:
    """The settings, or else one line that says what is wrong."""
    try:
        return read(content, config_class, folder), ""
    except UserError as error:
        [line] = str(error).splitlines()
        return None, line


@pytest.mark.parametrize("config_class", CONFIGS)
@quick
@given(data=st.data())
def test_a_value_is_taken_or_the_message_names_its_key(config_class: type, data: st.DataObject, tmp_path: Path) -> None:
    key = data.draw(st.sampled_from(sorted(config_class.model_fields)))
    config, said = outcome({key: data.draw(values)}, config_class, tmp_path)
    if config:
        assert config_class(**config.model_dump()) == config  # what is noted in provenance is valid again
    else:
        assert key in said


@pytest.mark.parametrize("config_class", CONFIGS)
@quick
@given(key=st.text(max_size=20), value=values)
def test_an_unknown_key_is_named(config_class: type, key: str, value: object, tmp_path: Path) -> None:
    if key not in config_class.model_fields:
        with pytest.raises(UserError, match="unknown key") as error:
            read({key: value}, config_class, tmp_path)
        assert f"'{key}'" in str(error.value)


@quick
@given(text=st.one_of(st.text(), st.from_regex(r"[\[{\]}:,&*!|>'\"%@` \n\-a-z]{0,30}", fullmatch=True)))
def test_any_text_is_read_or_ends_in_one_sentence(text: str, tmp_path: Path) -> None:
    outcome(text.encode("utf-8", "replace").decode(), GenerationConfig, tmp_path)


pairs = st.tuples(st.floats(0, 60), st.floats(61, 100))
optional = lambda numbers: st.one_of(st.none(), numbers)  # noqa: E731
valid = st.fixed_dictionaries(
    {"method": st.just("slic")},
    optional={
        "masks_per_image": st.integers(1, 30),
        "seed": st.integers(0, 2**70),
        "channel": st.one_of(st.just(0), st.just([0]), st.lists(st.integers(0, 1), min_size=1, max_size=3)),
        "intensity_percentiles": pairs,
        "max_supervoxel_share": st.floats(0.01, 1),
        "min_volume_mm3": optional(st.floats(0.1, 10)),
        "max_volume_mm3": optional(st.floats(10, 1e9)),
        "min_extent_mm": optional(st.floats(0.1, 5)),
        "max_extent_mm": optional(st.floats(5, 1e9)),
        "min_foreground_share": st.floats(0, 1),
        "max_overlap_iou": optional(st.floats(0, 1)),
        "slic_compactness": st.floats(1e-6, 1e6),
    },
)


@quick
@given(content=valid)
def test_a_valid_config_runs(content: dict[str, Any], tmp_path: Path) -> None:
    config = read(content, GenerationConfig, tmp_path)
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, 5, 12, 17)) + 5 * (np.arange(17) > 8)
    made = SupervoxelGenerator(config, "cpu")(image[list(config.channel)], (2.5, 0.7, 0.9))
    assert len(made) <= config.masks_per_image
    assert made.shape == (5, 12, 17)
    assert len(made) or made.notes
