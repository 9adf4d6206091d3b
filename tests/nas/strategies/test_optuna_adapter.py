import logging

import numpy as np
import optuna
import pytest

from nas.strategies.base import History
from nas.strategies.optuna_adapter import suggest_by_gp, suggest_by_tpe
from tests.nas.strategies.problems import Compression, StubSpace

SPACE = StubSpace(num_sizes=(9, 1, 9))


def history(*, budget: float) -> History:
    """A grid of candidates of a problem with a budget."""
    problem = Compression(space=StubSpace(num_sizes=(9, 2, 9)), budget=budget)
    candidates = [(a, 0, b) for a in (1, 3, 5, 7) for b in (0, 2, 4, 6, 8)]
    outcomes = [problem.outcome(candidate) for candidate in candidates]
    return History(
        candidates=tuple(candidates),
        objectives_TM=np.array([outcome.objectives for outcome in outcomes]),
        violations_TK=np.array([outcome.violations for outcome in outcomes]),
    )


@pytest.mark.parametrize("suggest", [suggest_by_tpe, suggest_by_gp])
def test_suggestions_respect_constraints_and_leave_single_sizes_alone(suggest: type[suggest_by_tpe]) -> None:
    budget = 0.2  # feasible are index sums up to 4.8 of 16
    suggestions = [suggest(SPACE, history(budget=budget), np.random.default_rng(seed)) for seed in range(4)]
    assert all(SPACE.canonical(candidate) == candidate and candidate[1] == 0 for candidate in suggestions)
    assert np.median([sum(candidate) for candidate in suggestions]) <= 6


def test_the_verbosity_of_the_caller_is_left_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    optuna.logging.set_verbosity(logging.DEBUG)
    try:
        suggest_by_tpe(SPACE, history(budget=0.5), np.random.default_rng(0))
        assert optuna.logging.get_verbosity() == logging.DEBUG
    finally:
        optuna.logging.set_verbosity(logging.INFO)
    assert capsys.readouterr() == ("", "")
