"""Uniform widths: every layer keeps the same share of its best units. The baseline that a search must beat."""

import numpy as np

from nas.pruners.base import UnitCosts
from nas.supernet.importance import UnitScores, rank
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


def prune_uniformly(scores: UnitScores, shape: SupernetShape, costs: UnitCosts, *, share: float) -> SubNetwork:
    """Keeps whole KV groups and neurons in the same number everywhere.

    The number of groups is rounded to the nearest that leaves room for a neuron, and the neurons take up what remains
    of the budget. One group and one neuron are the least.
    """
    group_cost = costs.kv_group + shape.heads_per_group * costs.head
    budget = share * costs.layers_total(shape) / shape.num_layers
    groups = max(1, min(round(share * shape.num_kv_groups), int((budget - costs.neuron) / group_cost)))
    neurons = min(max(1, int((budget - groups * group_cost) / costs.neuron)), shape.num_neurons)
    layers = shape.num_layers
    return rank(scores, shape).keep_best(
        shape,
        kv_groups_L=np.full(layers, groups),
        heads_per_group_L=np.full(layers, shape.heads_per_group),
        neurons_L=np.full(layers, neurons),
    )
