"""Mutates the trial that is best when the objectives are weighted at random.

The weighted Chebyshev distance of ParEGO (Knowles, IEEE Transactions on Evolutionary Computation 10(1), 2006).
"""

from collections.abc import Iterator

import numpy as np

from nas.strategies.base import History
from nas.strategies.variation import mutate
from search_spaces.base import Candidate, SearchSpace

NUM_PROPOSALS = 100


def propose(space: SearchSpace, history: History, rng: np.random.Generator) -> Iterator[Candidate]:
    """Mutants, each of the best trial under weights of its own; what meets the budgets goes first."""
    best_M, worst_M = history.objectives_TM.min(axis=0), history.objectives_TM.max(axis=0)
    distances_TM = (history.objectives_TM - best_M) / np.maximum(worst_M - best_M, 1e-12)
    for _ in range(NUM_PROPOSALS):
        weights_M = rng.dirichlet(np.ones_like(best_M))
        distance_T = (weights_M * distances_TM).max(axis=1)
        best = np.lexsort((distance_T, history.violation_T))[0]
        yield mutate(space, history.candidates[best], rng)
