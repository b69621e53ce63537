"""From files to batches: geometry, sampling, and what happens to bad files."""

import pickle
import shutil
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.masks.packed_masks import PackedMask
from nnunetv2_supervoxel.masks.supervoxel_sets import Supervoxel, SupervoxelSet
from nnunetv2_supervoxel.training.dataloader import PromptDataLoader
from nnunetv2_supervoxel.training.dataset import UNKNOWN, PromptCase, PromptDataset, patch_bounds, read_patch
from nnunetv2_supervoxel.training.objectives.in_context import InContextSettings, TwoViewsSampler
from nnunetv2_supervoxel.training.objectives.naming import ClassSampler
from nnunetv2_supervoxel.training.supervoxel_classes import OUTSIDE, make_classes

SHAPE = (17, 25, 38)
PATCH = (10, 14, 20)
# Boxes that no flip or swap of axes maps onto themselves or onto each other.
OBJECTS = (((1, 3, 5), (6, 9, 17)), ((9, 14, 22), (15, 24, 33)), ((0, 20, 0), (3, 25, 4)))


def mask_of(number, shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(*OBJECTS[number], strict=True))] = True
    return mask


def coordinates():
    """Each voxel's value says where it lies: 1 + z 10000 + y 100 + x; padding is 0."""
    z, y, x = np.indices(SHAPE)
    return (1 + z * 10000 + y * 100 + x).astype(np.float32)


def decode(values):
    z, rest = np.divmod(np.round(values).astype(int) - 1, 10000)
    return z, *np.divmod(rest, 100)


def write_image(folder, case, image, labels):
    folder.mkdir(parents=True, exist_ok=True)
    for older in folder.glob(f"{case}*"):
        older.unlink()
    locations = {
        int(label): np.insert(np.argwhere(labels == label), 0, 0, axis=1) for label in np.unique(labels) if label > 0
    }
    size = (1, 8, 8, 8)
    nnUNetDatasetBlosc2.save_case(
        image, labels[None].astype(np.int8), {"class_locations": locations}, str(folder / case), size, size
    )


def write_supervoxels(folder, case, numbers=(0, 1, 2), shape=SHAPE):
    supervoxels = [
        Supervoxel(PackedMask.of(np.ones(np.subtract(end, start), bool)), start, 0, start[0], 1, 1)
        for start, end in (OBJECTS[i] for i in numbers)
    ]
    supervoxel_files.write_case(folder, case, SupervoxelSet(shape, tuple(supervoxels)), {}, PATCH)


@pytest.fixture
def folders(tmp_path):
    """Images and supervoxels of two cases; channel 1 is the image of all supervoxels."""
    images, supervoxels = tmp_path / "plans_3d", tmp_path / "plans_3d_supervoxels"
    labels = np.where(mask_of(0), 1, 0) + np.where(mask_of(1), 2, 0) + np.where(mask_of(2), 2, 0)
    for case in ("a", "b"):
        write_image(images, case, np.stack([coordinates(), labels.astype(np.float32)]), labels)
        write_supervoxels(supervoxels, case)
    return images, supervoxels


def loader(folders, **settings):
    settings = {"rng": np.random.default_rng(0), "batch_size": 2, "patch_size": PATCH} | settings
    settings.setdefault("final_patch_size", settings["patch_size"])
    return PromptDataLoader([PromptDataset(*folders)], **settings)


def objects_of(batch):
    """`object_of` for every sample of a batch without augmentation."""
    return [object_of(i, t[0]) for i, t in zip(batch["data"].numpy(), batch["target"].numpy() > 0, strict=True)]


def object_of(image, target):
    """Which object the target shows, checked voxel by voxel through the coordinates in the image."""
    inside = image[0] > 0
    where = decode(image[0][inside])
    for number in range(len(OBJECTS)):
        if np.array_equal(mask_of(number)[where], target[inside]):
            assert not target[~inside].any()
            return number
    raise AssertionError("the target is none of the objects at the image's coordinates")


def test_target_and_image_show_the_same_place(folders):
    batches = [next(loader(folders, rng=np.random.default_rng(seed))) for seed in range(15)]
    seen = Counter()
    for batch in batches:
        assert batch["data"].shape == (2, 2, *PATCH)
        assert batch["data"].dtype == torch.float32
        assert batch["target"].shape == (2, 1, *PATCH)
        assert set(np.unique(batch["target"])) == {0, 1}
        assert set(batch["keys"]) <= {"a", "b"}
        for image, target in zip(batch["data"].numpy(), batch["target"].numpy() > 0, strict=True):
            seen[object_of(image, target[0])] += 1
            z, y, x = decode(image[0][image[0] > 0])
            assert z.max() - z.min() < PATCH[0]
            assert y.max() - y.min() < PATCH[1]
            assert x.max() - x.min() < PATCH[2]
    assert set(seen) == {0, 1, 2}
    assert min(seen.values()) >= 4  # supervoxels alike, whatever their size


def test_nnunets_augmentation_moves_image_and_target_alike(folders):
    transforms = nnUNetTrainer.get_training_transforms(
        PATCH, (-0.5, 0.5), [[1, 1, 1], [0.5, 0.5, 0.5]], (0, 1, 2), False
    )
    np.random.seed(0)
    torch.manual_seed(0)
    agreement = []
    for seed in range(12):
        batch = next(
            loader(
                folders,
                rng=np.random.default_rng(seed),
                patch_size=(16, 24, 30),
                final_patch_size=PATCH,
                transforms=transforms,
                min_target_voxels=20,
            )
        )
        assert [tuple(t.shape[2:]) for t in batch["target"]] == [PATCH, (5, 7, 10)]
        for image, target in zip(batch["data"], batch["target"][0], strict=True):
            target = target[0].numpy() > 0
            bright, dark = image[1].numpy()[target], image[1].numpy()[~target]
            agreement.append(np.median(bright) > np.median(dark))
    assert np.mean(agreement) > 0.9


def test_the_patch_is_centred_on_the_object(folders):
    for seed in range(10):
        batch = next(loader(folders, rng=np.random.default_rng(seed), patch_size=(3, 5, 7), batch_size=1))
        assert batch["target"][0, 0, 1, 2, 3] == 1


def test_the_object_may_lie_off_the_middle_but_never_outside(folders):
    in_the_middle = []
    for seed in range(60):
        settings = {"patch_size": (3, 5, 7), "batch_size": 1, "real_label_fraction": 0.5, "max_shift": 0.49}
        target = next(loader(folders, rng=np.random.default_rng(seed), **settings))["target"][0, 0]
        assert target.any()
        in_the_middle.append(bool(target[1, 2, 3]))
    assert 10 < sum(in_the_middle) < 50  # of 60


def test_a_patch_larger_than_the_image_is_padded(folders):
    batch = next(loader(folders, patch_size=(24, 30, 50)))
    image, target = batch["data"][0].numpy(), batch["target"][0, 0].numpy() > 0
    assert image.shape == (2, 24, 30, 50)
    assert (image[0] > 0).sum() == np.prod(SHAPE)
    assert object_of(image, target) in {0, 1, 2}


def test_small_objects_are_drawn_anew(folders):
    for seed in range(10):
        batch = next(loader(folders, rng=np.random.default_rng(seed), min_target_voxels=61))
        for image, target in zip(batch["data"].numpy(), batch["target"].numpy() > 0, strict=True):
            assert object_of(image, target[0]) != 2  # 60 voxels
            assert target.sum() >= 61


def test_if_nothing_is_large_enough_the_largest_has_to_do(folders):
    batch = next(loader(folders, min_target_voxels=10_000))
    assert (batch["target"].sum(dim=(1, 2, 3, 4)) > 300).all()


def test_what_is_too_small_is_never_augmented(folders):
    seen = []

    def augmentation(image, segmentation):
        assert image.shape == (2, 16, 24, 30)
        seen.append(int(segmentation.sum()))
        return {"image": image[:, 3:13, 5:19, 5:25], "segmentation": segmentation[:, 3:13, 5:19, 5:25]}

    settings = {"patch_size": (16, 24, 30), "final_patch_size": PATCH, "min_target_voxels": 61, "batch_size": 20}
    batch = next(loader(folders, transforms=augmentation, **settings))
    assert batch["data"].shape == (20, 2, *PATCH)
    assert len(seen) == 20
    assert min(seen) > 60  # object 2 has 60 voxels


def test_what_augmentation_turns_out_of_the_patch_is_drawn_anew(folders):
    def augmentation(image, segmentation):
        return {"image": image, "segmentation": segmentation * bool(segmentation.sum() > 400)}

    # Object 0 has 360 voxels, object 1 has 726.
    batch = next(loader(folders, transforms=augmentation, min_target_voxels=61, batch_size=20))
    assert (batch["target"].sum(dim=(1, 2, 3, 4)) > 400).all()


def test_the_same_generator_gives_the_same_batches(folders):
    settings = {"min_target_voxels": 61, "real_label_fraction": 0.3, "max_shift": 0.25, "batch_size": 8}
    first, second = (next(loader(folders, rng=np.random.default_rng(5), **settings)) for _ in range(2))
    assert torch.equal(first["data"], second["data"])
    assert torch.equal(first["target"], second["target"])
    assert first["keys"] == second["keys"]
    assert not torch.equal(first["data"], next(loader(folders, rng=np.random.default_rng(6), **settings))["data"])


def test_real_labels_give_one_component(folders):
    batches = [next(loader(folders, rng=np.random.default_rng(s), real_label_fraction=1.0)) for s in range(40)]
    assert {found for batch in batches for found in objects_of(batch)} == {0, 1, 2}  # 1 and 2 carry the same label


def test_real_labels_by_fraction(folders):
    for case in ("a", "b"):
        write_supervoxels(folders[1], case, numbers=(0,))
    seen = Counter(objects_of(next(loader(folders, real_label_fraction=0.5, batch_size=40))))
    assert 5 < seen[1] + seen[2] < 30
    assert set(objects_of(next(loader(folders, real_label_fraction=0.0, batch_size=20)))) == {0}


def test_a_case_without_labels_gives_supervoxels(folders):
    for case in ("a", "b"):
        write_image(folders[0], case, np.stack([coordinates()] * 2), np.zeros(SHAPE))
    batch = next(loader(folders, real_label_fraction=1.0))
    assert (batch["target"].sum(dim=(1, 2, 3, 4)) > 0).all()


def test_outside_of_the_nonzero_mask_is_marked_where_augmentation_needs_it(folders):
    images, supervoxels = folders
    labels = np.full(SHAPE, -1)
    labels[:8] = 0
    for case in ("a", "b"):
        write_image(images, case, np.stack([coordinates()] * 2), labels)
        write_supervoxels(supervoxels, case, numbers=(0,))
    batch = next(loader(folders, mark_outside=True, patch_size=(16, 14, 20)))
    for image, target in zip(batch["data"].numpy(), batch["target"].numpy(), strict=True):
        inside = image[0] > 0
        z, _, _ = decode(image[0][inside])
        assert np.array_equal(target[0][inside] == -1, z >= 8)
        assert (target[0][~inside] == -1).all()


def test_only_the_drawn_supervoxels_patch_is_read():
    class Recorder:
        shape = (5, *SHAPE)
        asked = ()

        def __getitem__(self, index):
            self.asked = index
            return np.ones([s.stop - s.start for s in index if isinstance(s, slice)], np.uint8)

    array = Recorder()
    patch = read_patch(array, 3, [(-2, 8), (4, 18), (30, 50)], 0)
    assert array.asked == (3, slice(0, 8), slice(4, 18), slice(30, 38))
    assert patch.shape == PATCH
    assert patch.sum() == 8 * 14 * 8
    assert patch[2:, :, :8].all()


def test_patch_bounds_follow_nnunets_padding():
    assert patch_bounds((8, 12, 20), SHAPE, PATCH, PATCH) == [(3, 13), (5, 19), (10, 30)]
    assert patch_bounds((0, 24, 37), SHAPE, PATCH, PATCH) == [(0, 10), (11, 25), (18, 38)]
    assert patch_bounds((0, 24, 37), SHAPE, (14, 18, 26), PATCH) == [(-2, 12), (9, 27), (15, 41)]
    low, high = patch_bounds((3, 3, 3), SHAPE, (24, 14, 20), (24, 14, 20))[0]
    assert low < 0
    assert high > SHAPE[0]


def test_weights_between_datasets(folders, tmp_path):
    images, supervoxels = tmp_path / "other", tmp_path / "other_supervoxels"
    write_image(images, "c", np.stack([coordinates()] * 2), np.zeros(SHAPE))
    write_supervoxels(supervoxels, "c")
    datasets = [PromptDataset(*folders), PromptDataset(images, supervoxels)]
    batch = next(PromptDataLoader(datasets, 200, PATCH, PATCH, weights=[1.0, 3.0], rng=np.random.default_rng(0)))
    assert 130 < batch["keys"].count("c") < 170


def naming_loader(folders, **settings):
    classes = make_classes([PromptDataset(*folders)], 3)
    return loader(folders, sampler=ClassSampler(classes), **settings)


def is_named(classes):
    return (classes != OUTSIDE) & (classes != UNKNOWN)


def test_batches_for_naming_show_the_classes_of_all_supervoxels_in_sight(folders):
    shown = Counter()
    for seed in range(8):
        batch = next(naming_loader(folders, min_target_voxels=1, rng=np.random.default_rng(seed)))
        assert set(batch) == {"data", "classes", "keys"}
        assert batch["classes"].shape == (2, 1, *PATCH)
        for image, classes in zip(batch["data"].numpy(), batch["classes"].numpy()[:, 0], strict=True):
            inside = image[0] > 0
            where, named = decode(image[0][inside]), classes[inside]
            assert not classes[~inside].any()
            for number in range(3):
                found = set(named[mask_of(number)[where]].tolist())
                assert len(found) <= 1
                shown[(number, *found)] += 1
            np.testing.assert_array_equal(is_named(named), np.any([mask_of(i)[where] for i in range(3)], axis=0))
    named = [key for key in shown if len(key) == 2]
    assert sorted(number for number, _ in named) == [0, 1, 2]  # each has one class wherever it is seen
    assert sorted(label for _, label in named) == [1, 2, 3]


def test_classes_are_made_of_what_can_be_read(folders):
    dataset = PromptDataset(*folders)
    (whole,) = make_classes([dataset], 24)
    (folders[1] / "a.pkl").write_bytes(b"no pickle")
    (half,) = make_classes([dataset], 24)
    np.testing.assert_allclose(np.sort(half.centres, axis=0), np.sort(whole.centres, axis=0))  # b is like a
    (folders[1] / "b.pkl").write_bytes(b"no pickle")
    with pytest.raises(UserError, match=r"b\.pkl|a\.pkl"):
        make_classes([dataset], 24)


def test_there_are_no_classes_of_nothing(folders):
    for case in ("a", "b"):
        rows = {"class_locations": {key: np.zeros((0, 4), int) for key in (1, 2, 3)}}
        (folders[1] / f"{case}.pkl").write_bytes(pickle.dumps(rows))
    with pytest.raises(UserError, match="are empty"):
        make_classes([PromptDataset(*folders)], 24)


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_both_views_show_the_same_supervoxels(folders, shift):
    sampler = TwoViewsSampler(InContextSettings(masks=4, view_shift=shift))
    moved = []
    for seed in range(8):
        settings = {"sampler": sampler, "min_target_voxels": 5, "rng": np.random.default_rng(seed)}
        batch = next(loader(folders, **settings, patch_size=(14, 18, 26), final_patch_size=(12, 16, 22)))
        assert batch["data"].shape == (2, 2, 2, 14, 18, 26)
        assert batch["masks"].shape == (2, 2, 4, 14, 18, 26)
        for views, masks in zip(batch["data"].numpy(), batch["masks"].numpy() > 0, strict=True):
            seen = [[object_of(views[i], mask) for mask in masks[i] if mask.any()] for i in (0, 1)]
            assert seen[0]
            assert len(set(seen[0])) == len(seen[0])
            assert set(seen[0]) == set(seen[1]) or shift
            for first, second in zip(masks[0], masks[1], strict=True):
                if first.any() and second.any():
                    assert object_of(views[0], first) == object_of(views[1], second)
            moved.append(not np.array_equal(views[0], views[1]))
    assert any(moved) == bool(shift)


def test_nnunets_augmentation_moves_image_and_supervoxels_alike(folders):
    transforms = nnUNetTrainer.get_training_transforms(
        PATCH, (-0.5, 0.5), [[1, 1, 1], [0.5, 0.5, 0.5]], (0, 1, 2), False
    )
    settings = {
        "patch_size": (24, 32, 44),
        "final_patch_size": PATCH,
        "transforms": transforms,
        "min_target_voxels": 20,
    }
    agree = []
    for seed in range(6):
        torch.manual_seed(seed)
        np.random.seed(seed)
        batch = next(naming_loader(folders, **settings, rng=np.random.default_rng(seed)))
        for sample in range(2):
            image = batch["data"][sample, 1].numpy()  # 0 outside of supervoxels, more inside
            inside = image > (image.min() + image.max()) / 4
            named = is_named(batch["classes"][0][sample, 0].numpy())
            agree.append((np.mean(inside[named]), np.count_nonzero(inside & named) / np.count_nonzero(inside | named)))
    precision, overlap = np.mean(agree, axis=0)
    assert precision > 0.8
    assert overlap > 0.85


def test_workers_draw_different_batches(folders):
    augmenter = NonDetMultiThreadedAugmenter(loader(folders, rng=None, batch_size=4), None, 2, num_cached=2)
    seen = {tuple(next(augmenter)["data"][:, 0].amax(dim=(1, 2, 3)).tolist()) for _ in range(6)}
    augmenter._finish()
    assert len(seen) == 6


def test_the_older_layout_of_class_locations(folders):
    _, supervoxels = folders
    for case in ("a", "b"):
        older = [{1: np.argwhere(mask_of(number))} for number in range(3)]
        (supervoxels / f"{case}.pkl").write_bytes(pickle.dumps(older))
    batch = next(loader(folders, batch_size=12))
    assert set(objects_of(batch)) == {0, 1, 2}


def test_cases_without_supervoxels_are_skipped_with_one_warning(folders):
    images, supervoxels = folders
    for case in ("c", "d"):
        write_image(images, case, np.stack([coordinates()] * 2), np.zeros(SHAPE))
    with pytest.warns(UserWarning, match="2 of 4 cases have no supervoxels") as caught:
        dataset = PromptDataset(images, supervoxels, remedy="do this")
    assert dataset.identifiers == ["a", "b"]
    assert len(caught) == 1
    assert "c, d" in str(caught[0].message)
    assert "do this" in str(caught[0].message)


def test_cases_with_labels_alone_count_where_labels_are_asked_for(folders):
    images, supervoxels = folders
    for path in supervoxels.glob("b.*"):
        path.unlink()
    write_image(images, "c", np.stack([coordinates()] * 2), np.zeros(SHAPE))  # neither of both
    with pytest.warns(UserWarning, match="1 of 3 cases have no supervoxels or labels"):
        assert PromptDataset(*folders, labels="also").identifiers == ["a", "b"]
    for labels in ("never", "instead"):
        with pytest.warns(UserWarning, match=r"2 of 3 cases have no supervoxels in .*\(b, c\)"):
            assert PromptDataset(*folders, labels=labels).identifiers == ["a"]
    shutil.rmtree(supervoxels)
    with pytest.warns(UserWarning, match=r"1 of 3 cases have no supervoxels or labels in .*\(c\)"):
        assert PromptDataset(*folders, labels="instead").identifiers == ["a", "b"]
    with pytest.raises(UserError, match="None of 3 cases has supervoxels in"):
        PromptDataset(*folders)
    with pytest.raises(UserError, match="None of 1 cases has supervoxels or labels in"):
        PromptDataset(*folders, ["c"], labels="also")


def test_a_case_without_supervoxels_gives_labels(folders):
    supervoxels = folders[1]
    for path in supervoxels.glob("b.*"):
        path.unlink()
    write_supervoxels(supervoxels, "a", numbers=(0,))
    dataset = PromptDataset(*folders, labels="also")
    case = dataset.open_case("b")
    assert not case.has_supervoxels
    assert case.supervoxels.shape == (0, *SHAPE)
    settings = {"batch_size": 40, "patch_size": PATCH, "final_patch_size": PATCH, "rng": np.random.default_rng(0)}
    batch = next(PromptDataLoader([dataset], **settings))
    seen = {
        key: {found for name, found in zip(batch["keys"], objects_of(batch), strict=True) if name == key}
        for key in "ab"
    }
    assert seen == {"a": {0}, "b": {0, 1, 2}}


def test_what_labels_leave_unknown_is_in_the_target(folders):
    """Object 1 lies among voxels of an ignore label; supervoxels are whole, whatever labels say."""
    unknown = np.zeros(SHAPE, bool)
    unknown[5:, 10:, 10:] = True
    unknown &= ~mask_of(1)
    labels = np.where(unknown, 3, 0) + np.where(mask_of(1), 2, 0)
    for case in ("a", "b"):
        write_image(folders[0], case, np.stack([coordinates(), labels.astype(np.float32)]), labels)
        path = folders[0] / f"{case}.pkl"
        locations = pickle.loads(path.read_bytes())["class_locations"]
        locations[(-1, 1, 2)] = locations.pop(3)  # as nnU-Net stores those of its ignore label
        path.write_bytes(pickle.dumps({"class_locations": locations}))
    dataset = PromptDataset(*folders, ignore_label=3)
    settings = {"batch_size": 6, "patch_size": PATCH, "final_patch_size": PATCH}
    batch = next(PromptDataLoader([dataset], **settings, real_label_fraction=1.0, rng=np.random.default_rng(0)))
    for image, target in zip(batch["data"].numpy(), batch["target"].numpy()[:, 0], strict=True):
        inside = image[0] > 0
        where = decode(image[0][inside])
        np.testing.assert_array_equal(target[inside] == UNKNOWN, unknown[where])
        np.testing.assert_array_equal(target[inside] == 1, mask_of(1)[where])
        assert not target[~inside].any()
    assert (batch["target"] == UNKNOWN).any()
    batch = next(PromptDataLoader([dataset], **settings, rng=np.random.default_rng(0)))
    assert set(np.unique(batch["target"])) == {0, 1}


def test_empty_supervoxels_are_never_replaced_by_labels(folders):
    for case in ("a", "b"):
        rows = {"class_locations": {key: np.zeros((0, 4), int) for key in (1, 2, 3)}}
        (folders[1] / f"{case}.pkl").write_bytes(pickle.dumps(rows))
    with pytest.raises(UserError, match="no object with a voxel"):
        next(PromptDataLoader([PromptDataset(*folders, labels="also")], 1, PATCH, PATCH))


def test_no_supervoxels_at_all(folders, tmp_path):
    with pytest.raises(UserError, match=r"None of 2 cases has supervoxels in .*nowhere; do this"):
        PromptDataset(folders[0], tmp_path / "nowhere", remedy="do this")


def test_damaged_files_are_named_and_skipped(folders):
    images, supervoxels = folders
    whole = (supervoxels / "a.b2nd").read_bytes()
    (supervoxels / "a.b2nd").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match=r"a\.b2nd.*--overwrite"):
        assert PromptDataset(images, supervoxels).identifiers == ["b"]
    (supervoxels / "b.b2nd").unlink()
    with pytest.raises(UserError, match=r"None of 2 cases .*a\.b2nd can't be opened"):
        PromptDataset(images, supervoxels)


def test_missing_class_locations_name_their_command(folders):
    for case in ("a", "b"):
        (folders[1] / f"{case}.pkl").unlink()
    with pytest.raises(UserError, match="SuperVoxel_save_fg_location"):
        PromptDataset(*folders)


@pytest.mark.parametrize(
    "harm",
    [
        lambda images, supervoxels: (supervoxels / "a.pkl").write_bytes(b"nonsense"),
        lambda images, supervoxels: (supervoxels / "a.b2nd").unlink(),
        lambda images, supervoxels: (images / "a.b2nd").write_bytes(b""),
        lambda images, supervoxels: (images / "a.pkl").unlink(),
        lambda images, supervoxels: write_supervoxels(supervoxels, "a", shape=(17, 25, 39)),
    ],
    ids=["locations", "supervoxels", "image", "properties", "shape"],
)
def test_a_case_that_goes_bad_during_training_is_left_out(folders, harm):
    running = loader(folders)
    harm(*folders)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        keys = {key for _ in range(10) for key in next(running)["keys"]}
    assert keys == {"b"}
    messages = [str(warning.message) for warning in caught if "skipped" in str(warning.message)]
    assert len(messages) == 1
    assert messages[0].startswith("Case a is skipped from now on")


def test_an_image_that_only_fails_when_it_is_read(folders, monkeypatch):
    whole = PromptCase.image_patch

    def damaged(case, bounds):
        if case.name == "a":
            raise RuntimeError("Error while decompressing")
        return whole(case, bounds)

    monkeypatch.setattr(PromptCase, "image_patch", damaged)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        running = loader(folders)
        keys = {key for _ in range(10) for key in next(running)["keys"]}
    assert keys == {"b"}
    assert sum("Case a is skipped from now on" in str(warning.message) for warning in caught) == 1


def test_when_every_case_goes_bad(folders):
    running = loader(folders)
    shutil.rmtree(folders[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(UserError, match="Not one case"):
            next(running)


def test_locations_that_point_nowhere_end_in_words(folders):
    _, supervoxels = folders
    for case in ("a", "b"):
        nothing = {1: np.array([[0, 16, 0, 37]]), 2: np.array([[1, 0, 0, 37]]), 3: np.array([[2, 16, 0, 37]])}
        (supervoxels / f"{case}.pkl").write_bytes(pickle.dumps({"class_locations": nothing}))
    with pytest.raises(UserError, match="no object with a voxel"):
        next(loader(folders, patch_size=(2, 2, 2)))
