"""Tree-structured Parzen estimator, multi-objective and constrained, by Optuna.

Sources: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011; components: arXiv:2304.11127;
several objectives: Ozaki et al., JAIR 73, 2022; constraints: arXiv:2606.09889.
"""

from collections.abc import Iterator

import numpy as np

from nas.strategies.base import History
from nas.strategies.optuna_adapter import suggest_by_tpe
from search_spaces.base import Candidate, SearchSpace

NUM_PROPOSALS = 3


def propose(space: SearchSpace, history: History, rng: np.random.Generator) -> Iterator[Candidate]:
    """What the estimator deems likeliest to be good; draws differ, so a few are offered."""
    return (suggest_by_tpe(space, history, rng) for _ in range(NUM_PROPOSALS))
