"""One-shot methods: a sub-network for a budget. At a ladder of budgets they are the first trials of every search."""

import difflib

from nas.pruners.above_threshold import keep_above_threshold
from nas.pruners.base import Pruner, ScoredPruner
from nas.pruners.best_sublayers import keep_best_sublayers
from nas.pruners.best_units import keep_best_units
from nas.pruners.costs import UnitCosts, flops_costs, parameter_costs
from nas.pruners.errors import BudgetTooSmallError, PrunerInputError
from nas.pruners.evidence import Evidence
from nas.pruners.fisher import prune_by_fisher, search_by_fisher
from nas.pruners.fisher_ranks import prune_ranks_by_fisher
from nas.pruners.kcm import prune_by_kcm
from nas.pruners.obs import prune_by_obs
from nas.pruners.random_units import keep_random_units
from nas.pruners.uniform import prune_uniformly


class UnknownPrunerError(ValueError):
    """A name that no pruner has."""


PRUNERS: dict[str, Pruner] = {
    "random": keep_random_units,
    "uniform": ScoredPruner(select=prune_uniformly, importance=None),
    "magnitude": ScoredPruner(select=prune_uniformly, importance="magnitude"),
    "activation": ScoredPruner(select=keep_best_units, importance="activation"),
    "wanda": ScoredPruner(select=prune_uniformly, importance="wanda"),
    "flap": ScoredPruner(select=keep_above_threshold, importance="flap"),
    "taylor": ScoredPruner(select=keep_best_units, importance="taylor"),
    "block_influence": ScoredPruner(select=keep_best_sublayers, importance="block_influence"),
    "fisher_diagonal": search_by_fisher,
    "fisher": prune_by_fisher,
    "kcm": prune_by_kcm,
    "obs": prune_by_obs,
}
"""Those that choose units."""

RANK_PRUNERS: dict[str, Pruner] = {"fisher_ranks": prune_ranks_by_fisher}
"""Those that choose ranks of matrices; all units stay."""

ALL_PRUNERS = {**PRUNERS, **RANK_PRUNERS}


def pruner_named(name: str) -> Pruner:
    """The pruner of that name.

    Raises:
        UnknownPrunerError: There is none; the message lists those there are.
    """
    if name not in ALL_PRUNERS:
        nearest = difflib.get_close_matches(name, ALL_PRUNERS, n=1, cutoff=0.0)[0]
        raise UnknownPrunerError(f"A pruner must be one of {', '.join(ALL_PRUNERS)}, got {name!r}; try {nearest!r}.")
    return ALL_PRUNERS[name]


__all__ = [
    "ALL_PRUNERS",
    "PRUNERS",
    "RANK_PRUNERS",
    "BudgetTooSmallError",
    "Evidence",
    "Pruner",
    "PrunerInputError",
    "UnitCosts",
    "UnknownPrunerError",
    "flops_costs",
    "parameter_costs",
    "pruner_named",
]
