import numpy as np
import pytest
import torch

from nnunetv2_supervoxel import GenerationConfig
from nnunetv2_supervoxel.generation.out_of_memory import halve_until_it_fits, is_out_of_memory
from nnunetv2_supervoxel.generation.sam.batched_sam2 import BatchedSam2
from nnunetv2_supervoxel.generation.sam.encoding import SliceFeatures
from nnunetv2_supervoxel.generation.sam.mask_decoding import Prediction
from nnunetv2_supervoxel.generation.sam.memory_bank import LookBack
from nnunetv2_supervoxel.generation.sam.propagation import Propagator, Seeds
from nnunetv2_supervoxel.generation.sam.proposals import Proposer


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


def test_proposals_with_little_memory_are_the_same(
    brain_generator: object, brain_config: GenerationConfig, brain_slice: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    sam = brain_generator.method._propose._generator.predictor.model
    plenty = Proposer(sam, brain_config)(brain_slice)
    decoder = sam.mask_decoder.predict_masks

    def small(*arguments: object, **named: torch.Tensor) -> object:
        if len(named["sparse_prompt_embeddings"]) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return decoder(*arguments, **named)

    monkeypatch.setattr(sam.mask_decoder, "predict_masks", small)
    proposer = Proposer(sam, brain_config)
    little = proposer(brain_slice)
    assert proposer._points_per_batch == 8
    assert len(plenty) == len(little) > 0
    for one, other in zip(plenty, little, strict=True):
        assert np.mean(one.mask != other.mask) < 0.001


def test_tracks_with_little_memory_are_the_same(
    brain_generator: object, moving_objects: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, seeds, keyframe = moving_objects
    sam2 = brain_generator.method._propagate._model.model
    box = tuple(slice(0, size) for size in volume.shape)

    def read(frame: int) -> np.ndarray:
        return np.repeat(volume[frame][None], 3, 0)

    [plenty] = Propagator(sam2)(read, len(volume), [Seeds(keyframe, seeds)])
    step = BatchedSam2.step

    def small(model: BatchedSam2, features: SliceFeatures, look_back: LookBack) -> Prediction:
        if len(look_back.keys) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return step(model, features, look_back)

    monkeypatch.setattr(BatchedSam2, "step", small)
    propagator = Propagator(sam2, objects_per_batch=20)
    [little] = propagator(read, len(volume), [Seeds(keyframe, seeds)])
    assert propagator._objects_per_batch == 2
    for one, other in zip(plenty, little, strict=True):
        assert np.mean(one.in_box(box) != other.in_box(box)) < 1e-4
