import numpy as np
import pytest

from nnunetv2_supervoxel.generation.sam.proposal_choice import choose_proposals
from nnunetv2_supervoxel.generation.sam.proposals import Proposal


def square(row: int, column: int, side: int, score: float) -> Proposal:
    mask = np.zeros((60, 90), bool)
    mask[row : row + side, column : column + side] = True
    return Proposal(mask, score, 0.9)


@pytest.fixture
def crowd() -> list[Proposal]:
    """Eight small ones close together with the best scores, and one each of larger sizes elsewhere."""
    small = [square(5 + i // 4 * 4, 5 + i % 4 * 4, 3, 0.9 - i / 100) for i in range(8)]
    return [*small, square(40, 70, 5, 0.5), square(5, 60, 9, 0.4), square(30, 20, 14, 0.3), square(2, 30, 25, 0.2)]


def test_the_best_scores(crowd: list[Proposal], rng: np.random.Generator) -> None:
    assert choose_proposals(crowd, 3, "score", rng) == crowd[:3]


def test_random_ones_depend_on_the_stream(crowd: list[Proposal]) -> None:
    def drawn(seed: int) -> list[Proposal]:
        return choose_proposals(crowd, 4, "random", np.random.default_rng(seed))

    assert drawn(0) == drawn(0) != drawn(1)
    assert len(set(map(id, drawn(0)))) == 4


def test_diverse_ones_differ_in_size_and_place(crowd: list[Proposal], rng: np.random.Generator) -> None:
    taken = choose_proposals(crowd, 4, "diverse", rng)
    areas = sorted(np.count_nonzero(proposal.mask) for proposal in taken)
    assert areas[0] == 9
    assert areas[-1] >= 81  # one of each quarter of the sizes, and the best scores are all of the smallest
    assert taken[0] is crowd[0]
    places = np.array([np.argwhere(proposal.mask).mean(0) for proposal in choose_proposals(crowd, 8, "diverse", rng)])
    assert min(np.linalg.norm(a - b) for i, a in enumerate(places) for b in places[:i]) >= 4
    by_score = np.array([np.argwhere(proposal.mask).mean(0) for proposal in crowd[:4]])
    chosen = np.array([np.argwhere(proposal.mask).mean(0) for proposal in taken])
    assert np.ptp(chosen, axis=0).min() > np.ptp(by_score, axis=0).max()


@pytest.mark.parametrize("choice", ["random", "score", "diverse"])
def test_few_are_all_taken_once(crowd: list[Proposal], rng: np.random.Generator, choice: str) -> None:
    taken = choose_proposals(crowd, 100, choice, rng)
    assert sorted(map(id, taken)) == sorted(map(id, crowd))
    assert choose_proposals([], 5, choice, rng) == []
    assert len(choose_proposals(crowd, 11, choice, rng)) == 11
