from pathlib import Path

import pytest

from nnunetv2_supervoxel import GenerationConfig, UserError, load_config
from nnunetv2_supervoxel.config import find_config
from nnunetv2_supervoxel.package_data import package_folder


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_a_yaml_of_the_older_tool_works_unchanged(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'file_format: ".b2nd"\nexcluded_strings: "_seg.b2nd"\nsam1_checkpoint: "/path/to/sam/sam_vit_h_4b8939.pth"\n'
        'sam2_checkpoint: "/path/to/sam2/sam2.1_hiera_large.pt"\nmasks_per_image: 20\n',
    )
    config = load_config(path, GenerationConfig)
    assert config.file_format == (".b2nd",)
    assert config.excluded_strings == ("_seg.b2nd",)
    assert config.sam1_checkpoint == "/path/to/sam/sam_vit_h_4b8939.pth"
    assert config.masks_per_image == 20


def test_defaults_are_those_of_the_design() -> None:
    config = GenerationConfig()
    assert (config.points_per_side, config.points_per_batch) == (48, 256)
    assert (config.pred_iou_thresh, config.stability_score_thresh) == (0.92, 0.92)
    assert (config.box_nms_thresh, config.crop_nms_thresh) == (0.6, 0.6)
    assert (config.crop_n_layers, config.crop_n_points_downscale_factor) == (1, 2)
    assert (config.min_mask_region_area, config.masks_per_image, config.axis) == (192, 20, (0,))


@pytest.mark.parametrize("name", [path.stem for path in package_folder("configs").glob("*.yaml")])
def test_templates_are_valid(name: str) -> None:
    from nnunetv2_supervoxel import config

    kinds = {"prompt_training": config.PromptTrainingConfig, "pretraining": config.PretrainingConfig}
    kind = kinds.get(name, GenerationConfig)
    load_config(find_config(name), kind)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("masks_per_imag: 3", "unknown key 'masks_per_imag', did you mean 'masks_per_image'? (docs/reference"),
        ("sam_checkpoint: a", "did you mean 'sam1_checkpoint' or 'sam2_checkpoint'?"),
        ("colour: red", "unknown key 'colour' (docs/reference"),
        ("masks_per_image: many", "'masks_per_image' is 'many'"),
        ("masks_per_image: 0", "greater than or equal to 1"),
        ("channel: [0, 1, 2, 3]", "'channel'"),
        ("channel: -1", "'channel"),
        ("axis: [1, 1]\nkeyframes: 2", "every axis can be listed once only"),
        ("axis: [0, 1]", "'keyframes' is 1: 2 axes need as many keyframes at least"),
        ("points_per_side: 4\ncrop_n_layers: 3", "'points_per_side' is 4: 3 layers of crops need 8 or more"),
        ("intensity_percentiles: [99, 1]", "first percentile must be below"),
        ("pred_iou_thresh: 1.5", "'pred_iou_thresh' is 1.5"),
        ("axis: automatic", "'axis.0' is 'automatic'"),
        ("windows: [[40, 0]]", "'windows.0.1' is 0"),
        ("windows: [[40, 400], [1, 2]]\nchannel: [0, 1]", "several windows show one channel"),
        ("intensity_percentiles: [[1, 50], [50, 99]]\nchannel: [0, 1]", "several windows show one channel"),
        ("intensity_percentiles: [1, 50, 99]", "'intensity_percentiles.0' is [1, 50, 99]"),
        ("min_extent_mm: 5\nmax_extent_mm: 3", "less than the least that is kept, 5"),
        ("sam2_image_size: 500", "multiple of 32"),
        ("sam1_checkpoint: null\nsam2_checkpoint: bundled", "the bundled SAM 2 was never shown points"),
        ("method: watershed", "'method' is 'watershed'"),
        ("- a list", "holds a list"),
        ("a: [", "not valid YAML"),
        ("7: 8", "unknown key '7'"),
        ("seed: yes", "'seed' is True: yes, no, on, off, true and false don't fit here"),
        ("windows: [[no, 400]]", "'windows' is [[False, 400]]: yes, no"),
        ("masks_per_image: 3\nseed: 1\nmasks_per_image: 4", "'masks_per_image' is there twice"),
    ],
)
def test_a_wrong_config_is_one_clear_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError) as error:
        load_config(path, GenerationConfig)
    assert words in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("what_for", "templates"),
    [
        ("generation", "config, demo, dense, dense_tiny, nnUNet_preprocessed, tiny, tiny_brain"),
        ("pretraining", "pretraining"),
    ],
)
def test_a_missing_config_names_the_templates(tmp_path: Path, what_for: str, templates: str) -> None:
    for name in ("nothing", str(tmp_path / "folder" / "nothing.yaml")):
        with pytest.raises(UserError) as error:
            find_config(name, what_for)
        assert str(error.value).endswith(f"or a template's name: {templates}.")


def test_every_mistake_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load_config(write(tmp_path, "axis: [5]\nfirst: 1\nsecond: 2"), GenerationConfig)
    message = str(error.value)
    assert "unknown keys 'first'; 'second' (docs/reference/settings.md lists all keys); " in message
    assert message.endswith("; 'axis.0' is 5: input should be less than or equal to 2.")


def test_one_value_stands_for_a_list_and_none_for_an_empty_one(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "file_format: nrrd\nexcluded_strings:\nchannel: 2"), GenerationConfig)
    assert config.file_format == (".nrrd",)
    assert config.excluded_strings == ()
    assert config.channel == (2,)


def test_an_unknown_template_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"no config file tinny, did you mean 'tiny'\? Give .*nnUNet_preprocessed"):
        find_config("tinny")
    with pytest.raises(UserError, match=r"template's name: prompt_training\.$"):
        find_config("tinny", "prompt_training")
