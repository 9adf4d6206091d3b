"""Regularized evolution with several objectives, by Syne Tune: the oldest dies, the best of a few begets a child.

Source: Real, Aggarwal, Huang and Le, "Regularized Evolution for Image Classifier Architecture Search",
arXiv:1802.01548; with several objectives as in Syne Tune's ``MultiObjectiveRegularizedEvolution``. A child differs from
its parent in one choice, drawn uniformly. The population is a fifth of the usual 100, because a search has tens of
trials rather than thousands.
"""

from collections.abc import Iterator

import numpy as np

from nas.strategies.base import History
from nas.strategies.syne_tune_adapter import suggest_by_evolution
from search_spaces.base import Candidate, SearchSpace

POPULATION_SIZE = 20
SAMPLE_SIZE = 5
NUM_PROPOSALS = 20


def propose(space: SearchSpace, history: History, rng: np.random.Generator) -> Iterator[Candidate]:
    """Children of the newest trials."""
    yield from suggest_by_evolution(
        space,
        history,
        population_size=POPULATION_SIZE,
        sample_size=SAMPLE_SIZE,
        num_suggestions=NUM_PROPOSALS,
        rng=rng,
    )
