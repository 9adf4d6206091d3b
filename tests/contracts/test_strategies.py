"""What every strategy must hold to."""

import logging
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from nas.pareto import hypervolume
from nas.strategies import STRATEGIES, make_strategy
from nas.strategies.ask_tell import NUM_FIRST
from nas.strategies.base import Outcome, Strategy
from search_spaces.base import Candidate
from tests.nas.strategies.problems import Compression, StubSpace

SPACE = StubSpace(num_sizes=(6, 5, 1, 7))
PROBLEM = Compression(space=StubSpace(num_sizes=(6, 5, 2, 7)), budget=0.5)
GUIDED = [name for name in STRATEGIES if name != "random"]
NUM_TRIALS = {"gp": 22, "ehvi": 22}
"""How many trials a comparison may take; the model-based ones need few, and seconds for each."""

Judge = Callable[[Candidate], Outcome]


@pytest.fixture(params=STRATEGIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(name: str, problem: Compression, *, seed: int = 0) -> Strategy:
    return make_strategy(name, problem.space, num_objectives=2, num_constraints=problem.num_constraints, seed=seed)


def search(strategy: Strategy, judge: Judge, *, num_trials: int) -> list[Outcome]:
    outcomes: list[Outcome] = []
    while len(outcomes) < num_trials and (candidate := strategy.ask()) is not None:
        outcomes.append(judge(candidate))
        strategy.tell(outcomes[-1])
    return outcomes


def mishaps(candidate: Candidate) -> Outcome:
    """A judge under whom some candidates fail, some give no number, and some exceed the budget."""
    match sum(candidate) % 5:
        case 0:
            return Outcome(candidate=candidate, objectives=None)
        case 1:
            return Outcome(candidate=candidate, objectives=(math.nan, 1.0), violations=(0.0,))
        case rest:
            objectives = (float(20 - sum(candidate)), float(sum(candidate)))
            return Outcome(candidate=candidate, objectives=objectives, violations=(rest - 2.5,))


def test_only_canonical_candidates_never_told_are_asked_whatever_became_of_them(name: str) -> None:
    strategy = make_strategy(name, SPACE, num_objectives=2, num_constraints=1, seed=0)
    asked = [outcome.candidate for outcome in search(strategy, mishaps, num_trials=24)]
    assert len(set(asked)) == len(asked) == 24
    for candidate in asked:
        assert SPACE.canonical(candidate) == candidate
        assert all(0 <= index < n for index, n in zip(candidate, SPACE.num_sizes, strict=True))
        assert all(type(index) is int for index in candidate)


def test_a_search_in_which_everything_fails_goes_on(name: str) -> None:
    strategy = make_strategy(name, SPACE, num_objectives=2, num_constraints=0, seed=0)
    asked = search(strategy, lambda candidate: Outcome(candidate=candidate, objectives=None), num_trials=30)
    assert len({outcome.candidate for outcome in asked}) == 30


def test_asking_is_a_function_of_what_was_told(name: str) -> None:
    outcomes = search(make(name, PROBLEM), PROBLEM.outcome, num_trials=NUM_FIRST + 4)
    replayed = make(name, PROBLEM)
    for outcome in outcomes:
        assert replayed.ask() == outcome.candidate
        replayed.tell(outcome)
    untroubled = make(name, PROBLEM)
    for outcome in outcomes:
        untroubled.tell(outcome)
    assert untroubled.ask() == untroubled.ask() == replayed.ask()


def test_another_seed_asks_other_questions(name: str) -> None:
    first, second = (search(make(name, PROBLEM, seed=seed), PROBLEM.outcome, num_trials=5) for seed in (0, 1))
    assert first != second


def test_strategies_of_one_seed_have_their_first_trials_in_common(name: str) -> None:
    first, second = (search(make(n, PROBLEM), PROBLEM.outcome, num_trials=NUM_FIRST) for n in (name, "random"))
    assert first == second


def test_nothing_global_changes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    def state() -> tuple[object, ...]:
        numpy_state, torch_state = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        return numpy_state, torch_state, torch.get_default_dtype(), logging.root.handlers[:], logging.root.level

    before = state()
    search(make(name, PROBLEM), PROBLEM.outcome, num_trials=NUM_FIRST + 2)
    assert state() == before
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("num_sizes", [(3, 2, 2), (2, 1, 9), (1, 1)])
def test_a_tiny_space_is_visited_completely(name: str, num_sizes: tuple[int, ...]) -> None:
    space = StubSpace(num_sizes=num_sizes)
    every = {space.canonical(candidate) for candidate in np.ndindex(*num_sizes)}
    strategy = make_strategy(name, space, num_objectives=2, num_constraints=1, seed=0)
    asked = [outcome.candidate for outcome in search(strategy, mishaps, num_trials=1000)]
    assert sorted(asked) == sorted(every)
    assert strategy.ask() is None


def test_one_objective_is_enough(name: str) -> None:
    def loss_only(candidate: Candidate) -> Outcome:
        outcome = PROBLEM.outcome(candidate)
        return Outcome(candidate=candidate, objectives=(outcome.objectives or ())[:1])

    strategy = make_strategy(name, PROBLEM.space, num_objectives=1, num_constraints=0, seed=0)
    assert len(search(strategy, loss_only, num_trials=NUM_FIRST + 3)) == NUM_FIRST + 3


@pytest.mark.slow
@pytest.mark.parametrize("guided", GUIDED)
def test_guidance_finds_feasible_candidates_and_a_larger_front_than_chance(guided: str) -> None:
    budget = 0.25
    problem = Compression(space=StubSpace(num_sizes=(9,) * 12), budget=budget)
    num_trials, seeds = NUM_TRIALS.get(guided, 60), range(2 if guided in NUM_TRIALS else 6)

    def volume(outcomes: list[Outcome]) -> float:
        return hypervolume([o.objectives for o in outcomes if o.objectives and o.violation <= 0], (1.0, budget))

    ours = [search(make(guided, problem, seed=seed), problem.outcome, num_trials=num_trials) for seed in seeds]
    chance = [search(make("random", problem, seed=seed), problem.outcome, num_trials=num_trials) for seed in seeds]
    assert np.mean([volume(outcomes) for outcomes in ours]) > 1.4 * np.mean([volume(outcomes) for outcomes in chance])
    # Chance meets this budget once in a hundred trials.
    late = [outcome.violation <= 0 for outcomes in ours for outcome in outcomes[-10:]]
    assert np.mean(late) > 0.6
