"""Gaussian processes with expected hypervolume improvement under constraints, by Optuna.

Source: Daulton, Balandat and Bakshy, "Differentiable Expected Hypervolume Improvement", arXiv:2006.05078, as Optuna's
``GPSampler`` implements it, with the probability of feasibility as a factor.
"""

from collections.abc import Iterator

import numpy as np

from nas.strategies.base import History
from nas.strategies.optuna_adapter import suggest_by_gp
from search_spaces.base import Candidate, SearchSpace


def propose(space: SearchSpace, history: History, rng: np.random.Generator) -> Iterator[Candidate]:
    """The candidate of greatest expected gain; only one, as a second fit would cost as much and agree."""
    yield suggest_by_gp(space, history, rng)
