"""Random search: every choice drawn uniformly. The baseline that any other strategy must beat.

Source: Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13, 2012.
"""

from collections.abc import Iterator

import numpy as np

from nas.strategies.base import History
from search_spaces.base import Candidate, SearchSpace, sample

NUM_PROPOSALS = 100


def propose(space: SearchSpace, history: History, rng: np.random.Generator) -> Iterator[Candidate]:  # noqa: ARG001
    """Uniform samples; what was measured does not matter."""
    return (sample(space, rng) for _ in range(NUM_PROPOSALS))
