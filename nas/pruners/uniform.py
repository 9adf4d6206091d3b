"""Uniform widths: every layer keeps the same share of its best units. The baseline that a search must beat."""

import numpy as np

from nas.pruners.costs import UnitCosts
from nas.pruners.errors import BudgetTooSmallError
from nas.supernet.importance import UnitScores, rank
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


def prune_uniformly(scores: UnitScores, shape: SupernetShape, costs: UnitCosts, budget: float) -> SubNetwork:
    """Keeps whole KV groups and neurons in the same number everywhere.

    The number of groups is rounded to the nearest that leaves room for a neuron, and the neurons take up what remains
    of the budget. One group and one neuron are the least.

    Raises:
        BudgetTooSmallError: That costs more than the budget.
    """
    group_cost, layers = costs.whole_group(shape), shape.num_layers
    per_layer = (budget - costs.outside_units(shape)) // layers
    if not per_layer >= group_cost + costs.neuron:  # NaN too
        least = costs.outside_units(shape) + layers * (group_cost + costs.neuron)
        raise BudgetTooSmallError.of(costs.name, "Uniform pruning", least=least, received=budget)
    share = per_layer / (shape.num_kv_groups * group_cost + shape.num_neurons * costs.neuron)
    groups = max(1, min(round(share * shape.num_kv_groups), int((per_layer - costs.neuron) // group_cost)))
    groups = min(groups, shape.num_kv_groups)
    neurons = min(int((per_layer - groups * group_cost) // costs.neuron), shape.num_neurons)
    return rank(scores, shape).keep_best(
        shape,
        kv_groups_L=np.full(layers, groups),
        heads_per_group_L=np.full(layers, shape.heads_per_group),
        neurons_L=np.full(layers, neurons),
    )
