"""Uniform widths: every layer keeps the same share of its best units. The baseline that a search must beat."""

import numpy as np

from nas.pruners.base import UnitCosts
from nas.supernet.importance import UnitScores, rank
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


def prune_uniformly(scores: UnitScores, shape: SupernetShape, costs: UnitCosts, *, share: float) -> SubNetwork:
    """Keeps whole KV groups and neurons in the same number everywhere.

    The number of groups is rounded to the nearest, and the neurons take up what remains of the budget.
    """
    groups = min(max(1, round(share * shape.num_kv_groups)), shape.num_kv_groups)
    group_cost = costs.kv_group + shape.heads_per_group * costs.head
    per_layer = share * costs.layers_total(shape) / shape.num_layers - groups * group_cost
    neurons = min(max(1, int(per_layer / costs.neuron)), shape.num_neurons)
    layers = shape.num_layers
    return rank(scores, shape).keep_best(
        shape,
        kv_groups_L=np.full(layers, groups),
        heads_per_group_L=np.full(layers, shape.heads_per_group),
        neurons_L=np.full(layers, neurons),
    )
