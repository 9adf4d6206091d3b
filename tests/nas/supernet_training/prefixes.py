"""Sub-networks that keep the first units of every layer, as training takes them."""

import numpy as np

from search_spaces.base import UnitRanking
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork


def prefixes(shape: SupernetShape, count: int = 6) -> list[SubNetwork]:
    """Widths and drops differ in every layer; the first is the supernet itself, the second the least there is."""
    rng, ranking, layers = np.random.default_rng(0), UnitRanking.as_numbered(shape), shape.num_layers
    drawn = [SubNetwork.full(shape)]
    for number in range(count - 1):
        kv_groups_L = rng.integers(0, shape.num_kv_groups + 1, layers) * (number > 0)
        kv_groups_L[list(shape.required_attention)] = rng.integers(1, shape.num_kv_groups + 1)
        drawn.append(
            ranking.keep_best(
                shape,
                kv_groups_L=kv_groups_L,
                heads_per_group_L=np.full(layers, shape.heads_per_group),
                neurons_L=rng.integers(0, shape.num_neurons + 1, layers) * (number > 0),
            )
        )
    return drawn
