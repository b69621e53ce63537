from dataclasses import replace

import numpy as np
import pytest

from nnunetv2_supervoxel import GenerationConfig, Supervoxel, SupervoxelGenerator, SupervoxelSet
from nnunetv2_supervoxel.generation.selection import select, without_duplicates
from nnunetv2_supervoxel.masks.packed_masks import PackedMask

SHAPE, SPACING = (10, 20, 30), (3.0, 1.0, 0.5)


def box(origin: tuple[int, ...], shape: tuple[int, ...], **quality: float) -> Supervoxel:
    return Supervoxel(PackedMask.of(np.ones(shape, bool)), origin, 0, origin[0], **quality)


SMALL, FLAT, LONG = box((1, 1, 1), (1, 2, 2)), box((2, 0, 0), (1, 12, 20)), box((0, 5, 5), (8, 3, 4))


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, [SMALL, FLAT, LONG]),
        ({"min_volume_mm3": 6}, [SMALL, FLAT, LONG]),  # 4 voxels of 1.5 mm3
        ({"min_volume_mm3": 6.1}, [FLAT, LONG]),
        ({"max_volume_mm3": 144}, [SMALL, LONG]),  # 360 and 144 mm3
        ({"min_extent_mm": 12}, [FLAT, LONG]),
        ({"min_extent_mm": 12.1}, [LONG]),  # 24 mm along z
        ({"max_extent_mm": 23.9}, [SMALL, FLAT]),
        ({"max_supervoxel_share": 100 / 6000}, [SMALL, LONG]),
    ],
)
def test_sizes_are_in_mm(settings: dict, kept: list[Supervoxel]) -> None:
    made = SupervoxelSet(SHAPE, (SMALL, FLAT, LONG), SPACING)
    assert list(select(made, GenerationConfig(**settings)).supervoxels) == kept


def test_background_is_dropped() -> None:
    inside = np.zeros(SHAPE, bool)
    inside[0:3, 5:8, 5:9] = True  # 3 of 8 slices of LONG, nothing of the others
    made = SupervoxelSet(SHAPE, (SMALL, FLAT, LONG), SPACING)
    assert select(made, GenerationConfig(min_foreground_share=3 / 8), inside).supervoxels == (LONG,)
    nothing = select(made, GenerationConfig(min_foreground_share=0.4), inside)
    assert nothing.supervoxels == ()
    assert nothing.dropped == {"size": 0, "background": 3, "consistency": 0, "overlap": 0}


def test_the_foreground_is_that_of_the_image() -> None:
    """SLIC's segments lie in the foreground, so a share of 1 drops none of them."""
    image = np.random.default_rng(0).normal(0, 0.01, (12, 30, 40))
    image[:, 5:25, 8:30] += 1
    generate = SupervoxelGenerator(
        GenerationConfig(method="slic", masks_per_image=10, min_foreground_share=1), device="cpu"
    )
    found = generate(image)
    assert len(found) > 5
    assert found.dropped["background"] == 0
    with_air = replace(found, supervoxels=(*found.supervoxels, box((0, 0, 0), (2, 4, 4))))
    generate.method = lambda image: with_air
    assert generate(image).dropped["background"] == 1


def test_inconsistent_ones_are_dropped() -> None:
    sure, unsure, unknown = (box((0, 0, 0), (1, 1, 1), consistency=value) for value in (0.8, 0.6, None))
    made = SupervoxelSet(SHAPE, (unsure, sure, unknown), SPACING)
    assert select(made, GenerationConfig(min_consistency=0.7)).supervoxels == (sure, unknown)
    nothing = select(SupervoxelSet(SHAPE, (unsure,), SPACING), GenerationConfig(min_consistency=0.7))
    assert len(nothing) == 0
    assert nothing.dropped == {"size": 0, "background": 0, "consistency": 1, "overlap": 0}
    assert nothing.notes == ("none of 1 supervoxels has the size, place and consistency that the config asks for",)


def test_of_duplicates_the_better_one_stays() -> None:
    first = box((0, 0, 0), (4, 5, 10), predicted_iou=0.5)
    better = box((0, 0, 0), (4, 5, 9), predicted_iou=0.7)  # IoU 0.9 with the first
    third = box((0, 0, 0), (4, 5, 8), predicted_iou=0.6)  # 0.8 with the first, 0.89 with the better
    apart = box((6, 0, 0), (4, 5, 10), predicted_iou=0.1)
    assert without_duplicates([first, better, third, apart], 0.95) == [first, better, third, apart]
    assert without_duplicates([first, better, third, apart], 0.9) == [first, better, third, apart]  # not above
    assert without_duplicates([first, better, third, apart], 0.85) == [better, apart]
    assert without_duplicates([first, third, apart], 0.0) == [third, apart]
    consistent = box((0, 0, 0), (4, 5, 10), predicted_iou=0.2, consistency=0.9)
    assert without_duplicates([first, better, consistent], 0.85) == [consistent]
    made = SupervoxelSet(SHAPE, (first, better), SPACING)
    found = select(made, GenerationConfig(max_overlap_iou=0.85))
    assert found.supervoxels == (better,)
    assert found.dropped == {"size": 0, "background": 0, "consistency": 0, "overlap": 1}
