"""Global ranking: all KV groups and neurons of all layers compete by score per parameter.

The greedy solution of the knapsack in arXiv:2204.09656 with parameters as cost; the exact search with its
rearrangement is a method of its own.
"""

import numpy as np

from nas.pruners.base import UnitCosts
from nas.supernet.importance import UnitScores
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


def keep_best_units(scores: UnitScores, shape: SupernetShape, costs: UnitCosts, *, share: float) -> SubNetwork:
    """Keeps the units of the highest score per parameter until the budget is used up.

    The best KV group of a layer whose attention is required comes first, whatever its score.
    """
    groups_LK = scores.kv_groups_LK(shape)
    group_cost = costs.kv_group + shape.heads_per_group * costs.head
    value_LK = groups_LK / group_cost
    required = list(shape.required_attention)
    value_LK[required, groups_LK[required].argmax(axis=1)] = np.inf
    values = np.concatenate([value_LK.ravel(), (scores.neurons_LN / costs.neuron).ravel()])
    unit_costs = np.repeat([group_cost, costs.neuron], [value_LK.size, scores.neurons_LN.size])
    order = np.argsort(-values, kind="stable")
    kept = np.zeros(len(values), dtype=np.bool_)
    fits = np.cumsum(unit_costs[order]) <= share * costs.layers_total(shape)
    kept[order] = fits | np.isinf(values[order])
    return SubNetwork(
        shape=shape,
        heads_LH=kept[: value_LK.size].reshape(value_LK.shape).repeat(shape.heads_per_group, axis=1),
        neurons_LN=kept[value_LK.size :].reshape(scores.neurons_LN.shape),
    )
