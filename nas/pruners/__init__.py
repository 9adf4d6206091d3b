"""One-shot methods: a sub-network for a budget. At a ladder of budgets they are the first trials of every search."""

import difflib
from dataclasses import dataclass

from nas.pruners.base import Pruner, UnitCosts
from nas.pruners.best_sublayers import keep_best_sublayers
from nas.pruners.best_units import keep_best_units
from nas.pruners.uniform import prune_uniformly


class UnknownPrunerError(ValueError):
    """A name that no pruner has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPruner:
    """A pruner and the importance it goes by; ``importance`` None means that of the search's own ranking."""

    prune: Pruner
    importance: str | None


PRUNERS: dict[str, ScoredPruner] = {
    "uniform": ScoredPruner(prune=prune_uniformly, importance=None),
    "magnitude": ScoredPruner(prune=keep_best_units, importance="magnitude"),
    "activation": ScoredPruner(prune=keep_best_units, importance="activation"),
    "fisher": ScoredPruner(prune=keep_best_units, importance="fisher"),
    "block_influence": ScoredPruner(prune=keep_best_sublayers, importance="block_influence"),
}


def pruner_named(name: str) -> ScoredPruner:
    """The pruner of that name.

    Raises:
        UnknownPrunerError: There is none; the message lists those there are.
    """
    if name not in PRUNERS:
        nearest = difflib.get_close_matches(name, PRUNERS, n=1, cutoff=0.0)[0]
        raise UnknownPrunerError(f"A seed must be one of {', '.join(PRUNERS)}, got {name!r}; try {nearest!r}.")
    return PRUNERS[name]


__all__ = ["PRUNERS", "Pruner", "ScoredPruner", "UnitCosts", "UnknownPrunerError", "pruner_named"]
