import numpy as np

from nas.strategies.base import History
from nas.strategies.local_search import propose
from tests.nas.strategies.problems import StubSpace

SPACE = StubSpace(num_sizes=(9,) * 10)
GOOD, LEAN, POOR = (6,) * 10, (2,) * 10, (4,) * 10


def nearest_to(violations: tuple[float, float, float]) -> set[tuple[int, ...]]:
    """Which of the three known candidates the proposals are close to."""
    history = History(
        candidates=(GOOD, LEAN, POOR),
        objectives_TM=np.array([(0.1, 0.6), (0.6, 0.1), (0.7, 0.7)]),
        violations_TK=np.array(violations)[:, None],
    )
    proposals = np.array(list(propose(SPACE, history, np.random.default_rng(0))))
    distances = np.abs(proposals[:, None, :] - np.array(history.candidates)).sum(axis=2)
    return {history.candidates[index] for index in distances.argmin(axis=1)}


def test_neighbours_of_the_front_are_proposed() -> None:
    assert nearest_to((0, 0, 0)) == {GOOD, LEAN}


def test_the_front_is_the_feasible_one() -> None:
    assert nearest_to((0.1, 0, 0)) == {LEAN}


def test_while_nothing_is_feasible_the_least_infeasible_is_improved() -> None:
    assert nearest_to((0.3, 0.2, 0.1)) == {POOR}


def test_a_single_choice_to_move_needs_no_exchange() -> None:
    history = History(candidates=((3, 0),), objectives_TM=np.ones((1, 2)), violations_TK=np.zeros((1, 0)))
    proposals = {c for c, _ in propose(StubSpace(num_sizes=(9, 1)), history, np.random.default_rng(0))}
    assert {2, 4} < proposals <= set(range(9))
