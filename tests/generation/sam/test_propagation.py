"""Our propagation against the official predictor: same frames, seeds and weights, object by object."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from sam2.sam2_video_predictor import SAM2VideoPredictor
from scipy import ndimage

from nnunetv2_supervoxel import SupervoxelGenerator
from nnunetv2_supervoxel.checkpoints.loading import load_sam2
from nnunetv2_supervoxel.generation.sam import propagation
from nnunetv2_supervoxel.generation.sam.encoding import IMAGENET_MEAN, IMAGENET_STD, FrameReader, SliceFeatures
from nnunetv2_supervoxel.generation.sam.mask_decoding import Prediction
from nnunetv2_supervoxel.generation.sam.memory_bank import LookBack, MemoryBank
from nnunetv2_supervoxel.generation.sam.propagation import Propagator, Seeds
from nnunetv2_supervoxel.generation.sam.tracks import Track
from nnunetv2_supervoxel.masks.components import seed_component
from nnunetv2_supervoxel.masks.packed_masks import PackedMask


@pytest.fixture
def propagator(generator: SupervoxelGenerator) -> Propagator:
    return Propagator(generator.method._propagate._model.model)


def track(propagator: Propagator, read: FrameReader, frames: int, seeds: np.ndarray, keyframe: int) -> list[Track]:
    """The tracks of one keyframe's objects."""
    [tracks] = propagator(read, frames, [Seeds(keyframe, seeds)])
    return tracks


def track_officially(
    volume: np.ndarray, seeds: np.ndarray, keyframe: int, monkeypatch: pytest.MonkeyPatch
) -> np.ndarray:
    """Masks (n, z, y, x) from `SAM2VideoPredictor`, a fresh state for each direction and object."""
    predictor = load_sam2("bundled", model_class=SAM2VideoPredictor).model
    size = predictor.image_size
    frames = torch.from_numpy(np.repeat(volume[:, None], 3, 1))
    frames = F.interpolate(frames, (size, size), mode="bilinear", antialias=True)
    frames = (frames - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)
    monkeypatch.setattr(
        "sam2.sam2_video_predictor.load_video_frames", lambda **_: (frames, volume.shape[1], volume.shape[2])
    )
    masks = np.zeros((len(seeds), *volume.shape), bool)
    for i, seed in enumerate(seeds):
        for reverse in (False, True):
            state = predictor.init_state("replaced by the frames above")
            predictor.add_new_mask(state, keyframe, 0, seed)
            for frame, _, logits in predictor.propagate_in_video(state, keyframe, reverse=reverse):
                masks[i, frame] = logits[0, 0].numpy() > 0
    return masks


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def of_seed(masks: np.ndarray, seed: np.ndarray, keyframe: int) -> np.ndarray:
    seed_volume = np.zeros(masks.shape, bool)
    seed_volume[keyframe] = seed
    return seed_component(PackedMask.of(masks), PackedMask.of(seed_volume)).whole()


def as_array(tracks: list[Track], shape: tuple[int, ...]) -> np.ndarray:
    return np.stack([track.in_box(tuple(slice(0, size) for size in shape)) for track in tracks])


@pytest.mark.filterwarnings("ignore")
def test_every_object_equals_the_official_predictors(
    propagator: Propagator, moving_objects: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, seeds, keyframe = moving_objects
    tracks = track(propagator, lambda frame: np.repeat(volume[frame][None], 3, 0), len(volume), seeds, keyframe)
    ours = as_array(tracks, volume.shape)
    official = track_officially(volume, seeds, keyframe, monkeypatch)
    for i, seed in enumerate(seeds):
        component = of_seed(ours[i], seed, keyframe)
        assert component.any((1, 2)).sum() >= 5, "a track this short proves nothing"
        assert dice(component, of_seed(official[i], seed, keyframe)) >= 0.999


def test_ending_early_changes_nothing(
    propagator: Propagator, moving_objects: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, seeds, keyframe = moving_objects

    def read(frame: int) -> np.ndarray:
        return np.repeat(volume[frame][None], 3, 0)

    early = as_array(track(propagator, read, len(volume), seeds, keyframe), volume.shape)
    monkeypatch.setattr(propagation, "touching", lambda _, after: np.ones(len(after), bool))
    late = as_array(track(propagator, read, len(volume), seeds, keyframe), volume.shape)
    assert early.sum() <= late.sum()
    for i, seed in enumerate(seeds):
        np.testing.assert_array_equal(of_seed(early[i], seed, keyframe), of_seed(late[i], seed, keyframe))


def test_memories_are_encoded_only_of_objects_that_go_on(
    propagator: Propagator, moving_objects: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, seeds, keyframe = moving_objects
    encode, encoded = propagator._model._encode_memory.forward, []

    def counting(features: SliceFeatures, inside: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        encoded.append(len(inside))
        return encode(features, inside, scores)

    monkeypatch.setattr(propagator._model._encode_memory, "forward", counting)
    tracks = track(propagator, lambda frame: volume[frame][None], len(volume), seeds, keyframe)
    slices = [track.box()[0] for track in tracks]
    last = len(volume) - 1
    # Once on the keyframe and on every slice that an object has, but for the ends of the volume: nothing follows.
    wanted = [len(range(max(s.start, 1), min(s.stop, last))) for s in slices]
    assert sum(encoded) == sum(wanted)
    assert min(s.stop - s.start for s in slices) < len(volume)


def test_a_track_ends_where_it_covers_more_than_it_may(propagator: Propagator, moving_objects: tuple) -> None:
    volume, seeds, keyframe = moving_objects
    careful = Propagator(propagator._model.model, max_growth=1.3)
    free, limited = (
        as_array(track(carry, lambda frame: volume[frame][None], len(volume), seeds, keyframe), volume.shape)
        for carry in (propagator, careful)
    )
    ends = []
    for mask in free:
        areas = mask.sum((1, 2))
        too_large = np.flatnonzero(areas > 1.3 * areas[keyframe])
        first = max((z for z in too_large if z < keyframe), default=-1)
        last = min((z for z in too_large if z > keyframe), default=len(mask))
        mask[: first + 1], mask[last:] = False, False
        ends.append((int(first), int(last)))
    np.testing.assert_array_equal(limited, free)
    assert ends[0][0] == -1
    assert keyframe + 2 < ends[0][1] < len(volume)  # it grows by 5 % from slice to slice along z
    assert ends[3][0] > 0  # a cone that opens towards z = 0


def test_objects_are_followed_where_they_go(propagator: Propagator, moving_objects: tuple) -> None:
    volume, seeds, keyframe = moving_objects
    tracks = track(propagator, lambda frame: np.repeat(volume[frame][None], 3, 0), len(volume), seeds, keyframe)
    drifting = as_array(tracks[:1], volume.shape)[0]
    centres = [np.argwhere(drifting[z]).mean(0) for z in (5, 9, 14)]
    assert centres[0][0] < centres[1][0] - 1 < centres[2][0] - 3  # along y, by 0.6 a slice; a flip would reverse it
    assert np.ptp([centre[1] for centre in centres]) < 1.5  # and not along x


def test_slices_that_no_object_reaches_are_never_read(propagator: Propagator) -> None:
    volume = np.full((40, 50, 60), 0.1, np.float32)
    volume[18:22, 20:34, 20:40] = 0.9
    read = []

    def reader(frame: int) -> np.ndarray:
        read.append(frame)
        return np.repeat(volume[frame][None], 3, 0)

    tracks = track(propagator, reader, 40, np.repeat(volume[19][None] > 0.5, 4, 0), 19)
    reached = tracks[0].box()[0]
    assert len(read) == len(set(read)) < 36
    assert min(read) >= reached.start - propagation.FRAMES_AT_ONCE
    assert max(read) < reached.stop + propagation.FRAMES_AT_ONCE


@pytest.mark.parametrize(("keep_slices", "most"), [("auto", 1), ("never", 2)])
def test_keyframes_together_give_the_tracks_of_each_alone(
    propagator: Propagator, moving_objects: tuple, monkeypatch: pytest.MonkeyPatch, keep_slices: str, most: int
) -> None:
    volume, _, _ = moving_objects
    volume = np.concatenate([volume, volume[::-1]])  # long enough for full memory banks that become one
    labels = [ndimage.label(volume[keyframe] > 0.3)[0] for keyframe in (16, 9, 20)]
    seeds = [
        Seeds(keyframe, np.stack([label == i for i in range(1, label.max() + 1)]))
        for keyframe, label in zip((16, 9, 20), labels, strict=True)
    ]
    read: list[int] = []

    def reader(frame: int) -> np.ndarray:
        read.append(frame)
        return volume[frame][None]

    careful = Propagator(propagator._model.model, keep_slices=keep_slices)
    joins = []
    join = MemoryBank.join
    monkeypatch.setattr(MemoryBank, "join", lambda *banks: joins.append(banks) or join(*banks))
    together = [as_array(tracks, volume.shape) for tracks in careful(reader, len(volume), seeds)]
    assert joins
    assert max(Counter(read).values()) == most
    alone = [as_array(propagator(reader, len(volume), [of])[0], volume.shape) for of in seeds]
    for one, other, of in zip(together, alone, seeds, strict=True):
        assert len(one) == len(of.masks) >= 2
        assert one.any((2, 3)).sum() > 10 * len(one), "tracks this short prove nothing"
        assert np.mean(one != other) < 1e-5


def test_slices_encoded_together_give_the_tracks_of_slices_encoded_alone(
    propagator: Propagator, moving_objects: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, seeds, keyframe = moving_objects

    def read(frame: int) -> np.ndarray:
        return np.repeat(volume[frame][None], 3, 0)

    several_at_once = as_array(track(propagator, read, len(volume), seeds, keyframe), volume.shape)
    monkeypatch.setattr(propagation, "FRAMES_AT_ONCE", 1)
    one_at_once = as_array(track(propagator, read, len(volume), seeds, keyframe), volume.shape)
    assert np.mean(several_at_once != one_at_once) < 1e-5


def test_directions_at_the_same_time_change_nothing(propagator: Propagator, moving_objects: tuple) -> None:
    volume, seeds, keyframe = moving_objects
    readers = set()

    def read(frame: int) -> np.ndarray:
        readers.add((frame > keyframe, threading.current_thread()))
        return np.repeat(volume[frame][None], 3, 0)

    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            readers.clear()
            found.append(as_array(track(propagator, read, len(volume), seeds, keyframe), volume.shape))
            assert torch.get_num_threads() == threads
            assert len({thread for _, thread in readers}) == (1, 3)[threads - 1]  # the keyframe is read by the caller
    finally:
        torch.set_num_threads(before)
    assert found[0].any((1, 2, 3)).all()
    assert np.mean(found[0] != found[1]) < 1e-5


def test_an_error_in_one_direction_ends_both_and_is_the_callers(propagator: Propagator, moving_objects: tuple) -> None:
    volume, seeds, keyframe = moving_objects
    reached, failed = [], threading.Event()

    def read(frame: int) -> np.ndarray:
        if frame < keyframe - 2:
            failed.set()
            raise OSError("this slice can't be read")
        if frame > keyframe + 2:
            failed.wait()
        reached.append(frame)
        return np.repeat(volume[keyframe][None], 3, 0)  # objects that never end

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(OSError, match="can't be read"):
            track(propagator, read, keyframe + 60, seeds, keyframe)
        assert torch.get_num_threads() == 2
        assert max(reached) < keyframe + 20
    finally:
        torch.set_num_threads(before)


def test_the_state_does_not_grow_with_the_volume(
    propagator: Propagator, moving_objects: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, seeds, keyframe = moving_objects
    model = propagator._model.model
    sizes = []
    step = propagator._model.step

    def counting(features: SliceFeatures, look_back: LookBack) -> Prediction:
        sizes.append((look_back.memories, look_back.keys.shape[1]))
        return step(features, look_back)

    monkeypatch.setattr(propagator._model, "step", counting)
    long = np.repeat(volume[keyframe][None], 60, 0)
    track(propagator, lambda frame: np.repeat(long[frame][None], 3, 0), 60, seeds, 5)
    memories, tokens = (max(counts) for counts in zip(*sizes, strict=True))
    assert memories == model.num_maskmem
    pixels, tokens_of_pointer = model.sam_image_embedding_size**2, model.hidden_dim // model.mem_dim
    assert tokens == memories * pixels + model.max_obj_ptrs_in_encoder * tokens_of_pointer


def test_bfloat16_finds_nearly_the_same(generator: SupervoxelGenerator, moving_objects: tuple) -> None:
    """The arithmetic that is used on CUDA, here on the CPU."""
    volume, seeds, keyframe = moving_objects
    exact, rounded = (
        as_array(
            track(
                Propagator(generator.method._propagate._model.model, precision=precision),
                lambda frame: np.repeat(volume[frame][None], 3, 0),
                len(volume),
                seeds,
                keyframe,
            ),
            volume.shape,
        )
        for precision in ("float32", "bfloat16")
    )
    assert not np.array_equal(exact, rounded)
    assert dice(exact[:, keyframe - 2 : keyframe + 3], rounded[:, keyframe - 2 : keyframe + 3]) > 0.95


@pytest.mark.parametrize("keep", ["host", "never"])
def test_consistency_is_the_overlap_of_what_comes_back(
    generator: SupervoxelGenerator, propagator: Propagator, moving_objects: tuple, keep: str
) -> None:
    volume, seeds, keyframe = moving_objects
    reads: Counter[int] = Counter()

    def read(frame: int) -> np.ndarray:
        reads[frame] += 1
        return volume[frame][None]

    seeds = seeds[[1, 2]]
    later = as_array(track(propagator, read, len(volume), seeds[1:], keyframe), volume.shape)[:, 14]
    both = [Seeds(keyframe, seeds), Seeds(14, later)]
    unchecked = propagator(read, len(volume), both)
    reads.clear()
    checking = Propagator(generator.method._propagate._model.model, keep_slices=keep, check_consistency=True)
    checked = checking(read, len(volume), both)
    assert set(reads.values()) == {1} if keep == "host" else max(reads.values()) <= 4
    for of, its_tracks, before in zip(both, checked, unchecked, strict=True):
        np.testing.assert_array_equal(as_array(its_tracks, volume.shape), as_array(before, volume.shape))
        for one in its_tracks:
            expected = []
            for end in {propagation._beginning(of.keyframe, end) for end in one.ends()} - {of.keyframe}:
                [back] = track(propagator, read, len(volume), one.mask(end, volume.shape[1:])[None], end)
                seed, arrived = (of_track.mask(of.keyframe, volume.shape[1:]) for of_track in (one, back))
                expected.append(dice(arrived, seed))
            assert one.consistency == pytest.approx(min(expected), abs=0.01)
    assert all(one.consistency is None for one in unchecked[0])
    assert max(one.consistency for one in checked[0]) > 0.8


@pytest.mark.parametrize(
    ("keyframe", "end", "beginning"),
    [
        (9, 10, 10),
        (9, 12, 12),
        (9, 13, 12),
        (9, 15, 14),
        (9, 39, 32),
        (9, 30, 28),
        (20, 3, 4),
        (20, 0, 0),
        (20, 19, 19),
    ],
)
def test_tracks_come_back_from_their_last_quarter(keyframe: int, end: int, beginning: int) -> None:
    assert propagation._beginning(keyframe, end) == beginning


def test_a_leak_is_inconsistent(generator: SupervoxelGenerator) -> None:
    """A seed in the middle of a disc, from which the track goes on to most of it; and a seed that is a whole disc."""
    _, y, x = np.indices((20, 70, 90))
    disc = (y - 35) ** 2 + (x - 30) ** 2 < 20**2
    alone = (y - 35) ** 2 + (x - 75) ** 2 < 9**2
    volume = np.where(disc, 0.8, np.where(alone, 0.6, 0.1)).astype(np.float32)
    checking = Propagator(generator.method._propagate._model.model, check_consistency=True)
    part = disc & (np.abs(x - 30) < 6)
    leaking, steady = track(checking, lambda frame: volume[frame][None], 20, np.stack([part[8], alone[8]]), 8)
    assert np.count_nonzero(leaking.mask(18, (70, 90))) > 1.5 * np.count_nonzero(part[8]), "there is no leak to find"
    assert leaking.consistency < 0.8 < 0.9 < steady.consistency


def test_a_track_that_stays_on_its_slice_has_no_consistency(generator: SupervoxelGenerator) -> None:
    volume = np.full((2, 60, 80), 0.1, np.float32)
    volume[0, 20:40, 30:50] = 0.9
    checking = Propagator(generator.method._propagate._model.model, check_consistency=True, max_growth=1e-6)
    [alone] = track(checking, lambda frame: volume[frame][None], 2, (volume[:1] > 0.5), 0)
    assert alone.ends() == (0, 0)
    assert alone.consistency is None


def test_known_slices_are_not_read(generator: SupervoxelGenerator, moving_objects: tuple) -> None:
    volume, seeds, keyframe = moving_objects
    propagator = Propagator(generator.method._propagate._model.model)
    read: list[int] = []

    def frame_of(frame: int) -> np.ndarray:
        read.append(frame)
        return volume[frame][None]

    with torch.inference_mode():
        known = {keyframe: propagator._encode([volume[keyframe][None]])[0]}
    [tracks] = propagator(frame_of, len(volume), [Seeds(keyframe, seeds)], known)
    assert keyframe not in read
    assert len(read) == len(set(read)) == len(volume) - 1
    expected = track(propagator, lambda frame: volume[frame][None], len(volume), seeds, keyframe)
    for ours, theirs in zip(as_array(tracks, volume.shape), as_array(expected, volume.shape), strict=True):
        assert dice(ours, theirs) > 0.999
