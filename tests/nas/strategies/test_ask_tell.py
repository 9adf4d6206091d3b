"""What all strategies have in common, with proposers whose wishes are known."""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from nas.strategies.ask_tell import MAX_ENUMERATED, NUM_FIRST, AskTell, OutcomeError
from nas.strategies.base import History, Outcome
from search_spaces.base import Candidate, SearchSpace, neighbours, num_candidates
from tests.nas.strategies.problems import StubSpace

LARGE = StubSpace(num_sizes=(9,) * 6)
SMALL = StubSpace(num_sizes=(4, 4, 4))


class Wishes:
    """Proposes always the same candidates, and keeps what it was shown."""

    def __init__(self, *candidates: Candidate) -> None:
        self.candidates = candidates
        self.histories: list[History] = []

    def __call__(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Iterator[Candidate]:
        self.histories.append(history)
        return iter(self.candidates)


class OnePoint(StubSpace):
    """Many combinations of sizes that all stand for one sub-network."""

    def canonical(self, candidate: Candidate) -> Candidate:
        return (0,) * len(self.num_sizes)


def told(propose: Wishes, space: SearchSpace, *outcomes: Outcome, num_filler: int = NUM_FIRST) -> AskTell:
    """A strategy with enough outcomes for the proposer to be consulted."""
    strategy = AskTell(propose, space, num_objectives=1, num_constraints=0, seed=0)
    for index in range(num_filler):
        strategy.tell(Outcome(candidate=(3, index % 4, index // 4, *(0,) * 3)[: len(space.choices)], objectives=(1.0,)))
    for outcome in outcomes:
        strategy.tell(outcome)
    return strategy


def test_the_proposer_is_consulted_once_there_is_something_to_learn_from() -> None:
    wishes = Wishes((1, 2, 3, 4, 5, 6))
    strategy = told(wishes, LARGE, num_filler=NUM_FIRST - 1)
    strategy.ask()
    assert not wishes.histories
    strategy.tell(Outcome(candidate=(8,) * 6, objectives=(0.5,)))
    assert strategy.ask() == (1, 2, 3, 4, 5, 6)
    assert wishes.histories[0].candidates[-1] == (8,) * 6
    assert wishes.histories[0].objectives_TM.shape == (NUM_FIRST, 1)
    assert wishes.histories[0].violations_TK.shape == (NUM_FIRST, 0)


def test_failed_and_unfinite_outcomes_are_kept_from_the_proposer_but_not_asked_again() -> None:
    failed = [(7,) * 6, (6,) * 6, (5,) * 6]
    wishes = Wishes(*failed, (4,) * 6)
    outcomes = [
        Outcome(candidate=c, objectives=o) for c, o in zip(failed, (None, (math.nan,), (math.inf,)), strict=True)
    ]
    assert told(wishes, LARGE, *outcomes).ask() == (4,) * 6
    assert not set(failed) & set(wishes.histories[0].candidates)


def test_a_candidate_told_again_counts_as_told_last() -> None:
    wishes = Wishes((1,) * 6)
    told(wishes, LARGE, *(Outcome(candidate=(8,) * 6, objectives=(value,)) for value in (0.1, 0.2))).ask()
    history = wishes.histories[0]
    assert history.candidates.count((8,) * 6) == 1
    assert history.objectives_TM[-1].tolist() == [0.2]


def test_a_wish_for_what_is_known_is_answered_with_a_neighbour() -> None:
    known = Outcome(candidate=(5,) * 6, objectives=(0.1,))
    assert told(Wishes(known.candidate), LARGE, known).ask() in set(neighbours(LARGE, known.candidate))


@pytest.mark.parametrize("space", [SMALL, LARGE])
def test_without_a_wish_any_unseen_candidate_is_asked(space: StubSpace) -> None:
    candidate = told(Wishes(), space).ask()
    assert candidate is not None
    assert space.canonical(candidate) == candidate


def test_a_small_space_is_visited_to_its_last_candidate() -> None:
    strategy = AskTell(Wishes(), SMALL, num_objectives=1, num_constraints=0, seed=0)
    asked = set()
    while (candidate := strategy.ask()) is not None:
        asked.add(candidate)
        strategy.tell(Outcome(candidate=candidate, objectives=(0.0,)))
    assert len(asked) == 4 * 4 * 4 - 3 * 4  # with the first at 0, the second does not matter


def test_a_large_space_that_yields_nothing_new_is_taken_as_exhausted() -> None:
    space = OnePoint(num_sizes=(9,) * 6)
    assert num_candidates(space) > MAX_ENUMERATED
    strategy = AskTell(Wishes(), space, num_objectives=1, num_constraints=0, seed=0)
    strategy.tell(Outcome(candidate=(0,) * 6, objectives=(0.0,)))
    assert strategy.ask() is None


@pytest.mark.parametrize(("objectives", "violations"), [((1.0,), (0.0,)), ((1.0, 2.0), ()), ((1.0, 2.0), (0.0, 0.0))])
def test_an_outcome_of_another_search_is_refused(objectives: tuple[float, ...], violations: tuple[float, ...]) -> None:
    strategy = AskTell(Wishes(), SMALL, num_objectives=2, num_constraints=1, seed=0)
    with pytest.raises(OutcomeError, match=rf"2 objectives and 1 violations, got {len(objectives)} and"):
        strategy.tell(Outcome(candidate=(1, 1, 1), objectives=objectives, violations=violations))
