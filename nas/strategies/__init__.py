"""Search strategies: which candidate next. One algorithm a file, named in ``STRATEGIES``."""

import difflib

from nas.strategies import ehvi, gp, local_search, nsga2, random_search, regularized_evolution, tpe
from nas.strategies.ask_tell import AskTell
from nas.strategies.base import Proposer, Strategy
from search_spaces.base import SearchSpace

STRATEGIES: dict[str, Proposer] = {
    "random": random_search.propose,
    "local_search": local_search.propose,
    "nsga2": nsga2.propose,
    "tpe": tpe.propose,
    "gp": gp.propose,
    "regularized_evolution": regularized_evolution.propose,
    "ehvi": ehvi.propose,
}


class UnknownStrategyError(ValueError):
    """A name that no strategy has."""


def make_strategy(name: str, space: SearchSpace, *, num_objectives: int, num_constraints: int, seed: int) -> Strategy:
    """A strategy that knows nothing yet.

    Args:
        name: A key of ``STRATEGIES``.
        space: What may be chosen.
        num_objectives: How many each outcome has, at least 1.
        num_constraints: How many violations each outcome has.
        seed: Of the search; the same seed and outcomes give the same questions.

    Raises:
        UnknownStrategyError: No strategy has that name.
    """
    if name not in STRATEGIES:
        nearest = difflib.get_close_matches(name, STRATEGIES, n=1, cutoff=0.0)[0]
        raise UnknownStrategyError(
            f"A strategy must be one of {', '.join(STRATEGIES)}, got {name!r}; did you mean {nearest!r}?"
        )
    return AskTell(STRATEGIES[name], space, num_objectives=num_objectives, num_constraints=num_constraints, seed=seed)
