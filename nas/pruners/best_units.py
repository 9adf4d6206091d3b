"""Global selection: the KV groups and neurons of all layers whose scores sum to the most within a budget.

Groups all cost the same, and so do neurons, so that the best k groups and the best n neurons are optimal for each k,
and trying every k solves the knapsack of arXiv:2204.09656 exactly (``mask_search.py``). Scores of groups and neurons
must be of one kind, as changes of a loss are.
"""

import numpy as np

from nas.pruners.costs import UnitCosts
from nas.pruners.mask_search import search_flops
from nas.supernet.importance import UnitScores
from nas.supernet.importance.base import Scores
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import BoolMask, SubNetwork


def keep_best_units(scores: UnitScores, shape: SupernetShape, costs: UnitCosts, budget: float) -> SubNetwork:
    """Keeps the groups and neurons of the highest total score.

    Raises:
        BudgetTooSmallError: The groups that must be kept cost more than the budget.
    """
    return select_units(scores.kv_groups_LK(shape), scores.neurons_LN, shape, costs, budget)


def select_units(
    groups_LK: Scores, neurons_LN: Scores, shape: SupernetShape, costs: UnitCosts, budget: float
) -> SubNetwork:
    """The same from scores of KV groups ``(num_layers, num_kv_groups)`` and neurons ``(num_layers, num_neurons)``."""
    kept = search_flops(
        groups_LK,
        neurons_LN,
        budget=budget,
        fixed_cost=costs.outside_units(shape),
        group_cost=costs.whole_group(shape),
        neuron_cost=costs.neuron,
        required=shape.required_attention,
        cost_name=costs.name,
    )
    return of_groups(*kept, shape)


def of_groups(groups_LK: BoolMask, neurons_LN: BoolMask, shape: SupernetShape) -> SubNetwork:
    """The sub-network of whole KV groups."""
    return SubNetwork(shape=shape, heads_LH=np.repeat(groups_LK, shape.heads_per_group, axis=1), neurons_LN=neurons_LN)
