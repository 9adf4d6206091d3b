import numpy as np

from nas.strategies import nsga2
from nas.strategies.base import History
from tests.nas.strategies.problems import StubSpace

SPACE = StubSpace(num_sizes=(9,) * 12)


def children(violation_of_high: float) -> np.ndarray:
    """Proposals when the candidates of low indices are better, and a full population of each kind is known."""
    low = [tuple(np.random.default_rng(i).integers(1, 3, size=12).tolist()) for i in range(nsga2.POPULATION_SIZE)]
    high = [tuple(index + 5 for index in candidate) for candidate in low]
    history = History(
        candidates=(*high, *low),
        objectives_TM=np.array([(5.0 + i, 30.0 - i) for i in range(len(high))] + [(4.0, 4.0)] * len(low)),
        violations_TK=np.array([violation_of_high] * len(high) + [0.1] * len(low))[:, None],
    )
    return np.array(list(nsga2.propose(SPACE, history, np.random.default_rng(0))))


def test_children_descend_from_the_feasible_even_if_others_have_better_objectives() -> None:
    assert np.median(children(violation_of_high=0.0)) >= 6


def test_children_descend_from_the_least_infeasible() -> None:
    assert np.median(children(violation_of_high=0.2)) <= 2


def test_children_mix_their_parents() -> None:
    history = History(
        candidates=((1,) * 12, (7,) * 12), objectives_TM=np.array([(0, 1), (1, 0)]), violations_TK=np.zeros((2, 0))
    )
    proposals = np.array(list(nsga2.propose(SPACE, history, np.random.default_rng(0))))
    assert ((proposals <= 3).any(axis=1) & (proposals >= 5).any(axis=1)).any()
