"""Depth pruning: whole sublayers go, the least important first, as in arXiv:2403.03853 (ShortGPT)."""

import numpy as np

from nas.pruners.base import UnitCosts
from nas.supernet.importance import UnitScores
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


def keep_best_sublayers(scores: UnitScores, shape: SupernetShape, costs: UnitCosts, *, share: float) -> SubNetwork:
    """Drops sublayers in ascending order of importance until what is left fits the budget."""
    attention_cost = shape.num_heads * costs.head + shape.num_kv_groups * costs.kv_group
    mlp_cost = shape.num_neurons * costs.neuron
    influence_2L = np.stack([scores.attention_L, scores.mlp_L])
    influence_2L[0, list(shape.required_attention)] = np.inf
    kept_2L = np.ones(influence_2L.shape, dtype=np.bool_)
    total = costs.layers_total(shape)
    for flat in np.argsort(influence_2L, axis=None, kind="stable"):
        sublayer, layer = np.unravel_index(flat, influence_2L.shape)
        if total <= share * costs.layers_total(shape) or np.isinf(influence_2L[sublayer, layer]):
            break
        kept_2L[sublayer, layer] = False
        total -= attention_cost if sublayer == 0 else mlp_cost
    return SubNetwork(
        shape=shape,
        heads_LH=np.repeat(kept_2L[0][:, None], shape.num_heads, axis=1),
        neurons_LN=np.repeat(kept_2L[1][:, None], shape.num_neurons, axis=1),
    )
