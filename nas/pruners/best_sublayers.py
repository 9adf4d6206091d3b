"""Depth pruning: whole sublayers go, the least important first, as in arXiv:2403.03853 (ShortGPT)."""

import numpy as np

from nas.pruners.costs import UnitCosts
from nas.pruners.errors import BudgetTooSmallError
from nas.supernet.importance import UnitScores
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import BoolMask, SubNetwork


def keep_best_sublayers(scores: UnitScores, shape: SupernetShape, costs: UnitCosts, budget: float) -> SubNetwork:
    """Drops sublayers in ascending order of importance until what is left fits the budget.

    Raises:
        BudgetTooSmallError: The attention that must be kept costs more than the budget.
    """
    influence_2L = np.stack([scores.attention_L, scores.mlp_L])
    influence_2L[0, list(shape.required_attention)] = np.inf
    kept_2L = np.ones(influence_2L.shape, dtype=np.bool_)
    for flat in np.argsort(influence_2L, axis=None, kind="stable"):
        sub_network = _of(kept_2L, shape)
        sublayer, layer = np.unravel_index(flat, influence_2L.shape)
        if costs.of(sub_network) <= budget or np.isinf(influence_2L[sublayer, layer]):
            break
        kept_2L[sublayer, layer] = False
    sub_network = _of(kept_2L, shape)
    if not (least := costs.of(sub_network)) <= budget:  # NaN too
        raise BudgetTooSmallError.of(costs.name, "Dropping sublayers", least=least, received=budget)
    return sub_network


def _of(kept_2L: BoolMask, shape: SupernetShape) -> SubNetwork:
    return SubNetwork(
        shape=shape,
        heads_LH=np.repeat(kept_2L[0][:, None], shape.num_heads, axis=1),
        neurons_LN=np.repeat(kept_2L[1][:, None], shape.num_neurons, axis=1),
    )
