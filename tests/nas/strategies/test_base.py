import numpy as np
import pytest

from nas.strategies.base import History, Outcome, generator


def test_an_outcome_counts_only_what_exceeds_a_budget() -> None:
    outcome = Outcome(candidate=(0,), objectives=(1.0,), violations=(0.25, -3.0, 0.5))
    assert not outcome.failed
    assert outcome.violation == pytest.approx(0.75)


def test_a_failed_outcome_is_infinitely_infeasible() -> None:
    outcome = Outcome(candidate=(0,), objectives=None)
    assert outcome.failed
    assert outcome.violation == float("inf")


def test_history_agrees_with_outcomes_on_violations() -> None:
    violations = [(0.25, -3.0), (-1.0, -1.0), (0.5, 0.5)]
    history = History(candidates=((0,), (1,), (2,)), objectives_TM=np.zeros((3, 1)), violations_TK=np.array(violations))
    outcomes = [Outcome(candidate=(0,), objectives=(0.0,), violations=v) for v in violations]
    assert history.violation_T.tolist() == [outcome.violation for outcome in outcomes]


def test_a_generator_depends_on_seed_and_number() -> None:
    draws = {(s, n): generator(s, n).random() for s in range(3) for n in range(3)}
    assert len(set(draws.values())) == 9
    assert generator(1, 2).random() == draws[1, 2]
