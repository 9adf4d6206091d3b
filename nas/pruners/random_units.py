"""Random masks: the baseline below all others. The same share of KV groups and of neurons, drawn over all layers."""

import numpy as np

from nas.pruners.best_units import of_groups
from nas.pruners.costs import UnitCosts
from nas.pruners.errors import BudgetTooSmallError
from nas.pruners.evidence import Evidence
from nas.supernet.importance.base import Scores
from search_spaces.sub_network import BoolMask, SubNetwork


def keep_random_units(evidence: Evidence, costs: UnitCosts, budget: float) -> SubNetwork:
    """Keeps groups and neurons drawn with the evidence's seed; the groups of a larger budget hold those of a smaller.

    Raises:
        BudgetTooSmallError: The groups that must be kept cost more than the budget.
    """
    shape, rng = evidence.shape, evidence.generator()
    group_cost, required = costs.whole_group(shape), list(shape.required_attention)
    num_groups, num_neurons = shape.num_layers * shape.num_kv_groups, shape.num_layers * shape.num_neurons
    available = budget - costs.outside_units(shape)
    if not available >= len(required) * group_cost:  # NaN too
        least = costs.outside_units(shape) + len(required) * group_cost
        raise BudgetTooSmallError.of(costs.name, "Random pruning", least=least, received=budget)
    share = available / (num_groups * group_cost + num_neurons * costs.neuron)
    groups = min(max(round(share * num_groups), len(required)), int(available // group_cost), num_groups)
    neurons = min(int((available - groups * group_cost) // costs.neuron), num_neurons)
    order_LK = rng.random((shape.num_layers, shape.num_kv_groups))
    order_LK[required, order_LK[required].argmin(axis=1)] = -1
    order_LN = rng.random((shape.num_layers, shape.num_neurons))
    return of_groups(_lowest(order_LK, groups), _lowest(order_LN, neurons), shape)


def _lowest(order: Scores, count: int) -> BoolMask:
    kept = np.zeros(order.size, dtype=np.bool_)
    kept[np.argsort(order, axis=None)[:count]] = True
    return kept.reshape(order.shape)
