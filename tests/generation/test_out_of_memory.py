import numpy as np
import pytest
import torch

from nnunetv2_supervoxel import GenerationConfig
from nnunetv2_supervoxel.generation.out_of_memory import halve_until_it_fits, is_out_of_memory
from nnunetv2_supervoxel.generation.sam.batched_sam2 import BatchedSam2
from nnunetv2_supervoxel.generation.sam.encoding import SliceEncoder
from nnunetv2_supervoxel.generation.sam.propagation import Propagator, Seeds
from nnunetv2_supervoxel.generation.sam.proposals import Proposal, Proposer
from nnunetv2_supervoxel.generation.sam.tracks import Track


def test_what_pytorch_says_is_recognised() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(1 << 60)
    assert is_out_of_memory(error.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("size mismatch"))


def test_work_is_halved_until_it_fits() -> None:
    tried = []

    def work(size: int) -> str:
        tried.append(size)
        if size > 4:
            raise MemoryError
        return "done"

    assert halve_until_it_fits(work, 33) == ("done", 4)
    assert tried == [33, 16, 8, 4]


def test_other_errors_and_work_that_never_fits_are_passed_on() -> None:
    def wrong(_: int) -> None:
        raise ValueError("not about memory")

    def never(_: int) -> None:
        raise MemoryError

    with pytest.raises(ValueError, match="not about memory"):
        halve_until_it_fits(wrong, 8)
    with pytest.raises(MemoryError):
        halve_until_it_fits(never, 8)


@pytest.fixture(scope="module")
def sparse_config(brain_config: GenerationConfig) -> GenerationConfig:
    return brain_config.model_copy(update={"points_per_side": 8, "points_per_batch": 16})


@pytest.fixture
def proposals(brain_generator: object, sparse_config: GenerationConfig, brain_slice: np.ndarray) -> list[Proposal]:
    """With plenty of memory."""
    return Proposer(brain_generator.method._propose._generator.predictor.model, sparse_config)(brain_slice)


@pytest.fixture(scope="module")
def tracks(brain_generator: object, moving_objects: tuple) -> list[Track]:
    """With plenty of memory."""
    volume, seeds, keyframe = moving_objects
    return Propagator(brain_generator.method._propagate._model.model)(
        lambda frame: np.repeat(volume[frame][None], 3, 0), len(volume), [Seeds(keyframe, seeds)]
    )[0]


@pytest.mark.parametrize("rung", [8, 4, 2, 1])
def test_proposals_with_little_memory_are_the_same(
    rung: int,
    brain_generator: object,
    sparse_config: GenerationConfig,
    brain_slice: np.ndarray,
    proposals: list[Proposal],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sam = brain_generator.method._propose._generator.predictor.model
    decoder = sam.mask_decoder.predict_masks

    def small(*arguments: object, **named: torch.Tensor) -> object:
        if len(named["sparse_prompt_embeddings"]) > rung:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return decoder(*arguments, **named)

    monkeypatch.setattr(sam.mask_decoder, "predict_masks", small)
    proposer = Proposer(sam, sparse_config)
    little = proposer(brain_slice)
    assert proposer.points_per_batch == rung  # for the next slice of the case
    assert len(proposals) == len(little) > 0
    for one, other in zip(proposals, little, strict=True):
        assert np.mean(one.mask != other.mask) < 0.001


@pytest.mark.parametrize(
    ("part", "rung"), [("tracking", 10), ("tracking", 5), ("tracking", 2), ("tracking", 1), ("encoding", 1)]
)
def test_tracks_with_little_memory_are_the_same(
    part: str,
    rung: int,
    brain_generator: object,
    moving_objects: tuple,
    tracks: list[Track],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On every rung above, memory runs out in the middle of the volume."""
    volume, seeds, keyframe = moving_objects
    sam2 = brain_generator.method._propagate._model.model
    box = tuple(slice(0, size) for size in volume.shape)

    def read(frame: int) -> np.ndarray:
        return np.repeat(volume[frame][None], 3, 0)

    owner, name = (BatchedSam2, "step") if part == "tracking" else (SliceEncoder, "__call__")
    whole, track, tried, calls = getattr(owner, name), Propagator._track, [], [0]

    def begin(propagator: Propagator, *arguments: object) -> object:
        tried.append(arguments[4])
        calls[0] = 0
        return track(propagator, *arguments)

    def small(*arguments: object) -> object:
        calls[0] += 1
        if tried[-1] > rung and calls[0] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(*arguments)

    monkeypatch.setattr(Propagator, "_track", begin)
    monkeypatch.setattr(owner, name, small)
    [little] = Propagator(sam2, objects_per_batch=20)(read, len(volume), [Seeds(keyframe, seeds)])
    assert tried == [20, 10, 5, 2, 1][: 1 + [20, 10, 5, 2, 1].index(rung)]
    for one, other in zip(tracks, little, strict=True):
        assert np.mean(one.in_box(box) != other.in_box(box)) < 1e-4


def test_a_case_begins_with_whole_batches_whatever_came_before(
    brain_generator: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its files would depend on the order of cases, and one large case would slow down all that follow."""
    seen = []
    monkeypatch.setattr(Proposer, "__call__", lambda proposer, _: seen.append(proposer.points_per_batch) or [])
    brain_generator.method._propose.points_per_batch = 1
    brain_generator(np.random.default_rng(0).normal(size=(1, 12, 20, 30)).astype(np.float32), name="next")
    assert set(seen) == {brain_generator.config.points_per_batch}
