"""One threshold over the scores of all units, as arXiv:2312.11983 (FLAP) sets the width of every layer.

Units go in ascending order of score, whatever they cost, until the budget is met. For scores on one scale.
"""

import numpy as np

from nas.pruners.best_units import of_groups
from nas.pruners.costs import UnitCosts
from nas.pruners.errors import BudgetTooSmallError
from nas.supernet.importance import UnitScores
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


def keep_above_threshold(scores: UnitScores, shape: SupernetShape, costs: UnitCosts, budget: float) -> SubNetwork:
    """Keeps the units of the highest scores that the budget allows, a KV group by the mean of its heads.

    Raises:
        BudgetTooSmallError: The groups that must be kept cost more than the budget.
    """
    groups_LK = scores.kv_groups_LK(shape) / shape.heads_per_group
    required = list(shape.required_attention)
    groups_LK[required, groups_LK[required].argmax(axis=1)] = np.inf
    values = np.concatenate([groups_LK.ravel(), scores.neurons_LN.ravel()])
    unit_costs = np.repeat([costs.whole_group(shape), costs.neuron], [groups_LK.size, scores.neurons_LN.size])
    order = np.argsort(-values, kind="stable")
    spent = costs.outside_units(shape) + np.cumsum(unit_costs[order])
    if not spent[len(required) - 1] <= budget:  # NaN too
        raise BudgetTooSmallError.of(
            costs.name, "One threshold", least=float(spent[len(required) - 1]), received=budget
        )
    kept = np.zeros(len(values), dtype=np.bool_)
    kept[order] = spent <= budget
    return of_groups(
        kept[: groups_LK.size].reshape(groups_LK.shape), kept[groups_LK.size :].reshape(scores.neurons_LN.shape), shape
    )
