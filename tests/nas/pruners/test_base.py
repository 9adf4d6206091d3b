import numpy as np

from nas.pruners.base import UnitCosts
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork

SHAPE = SupernetShape(num_layers=2, num_heads=4, num_kv_groups=2, num_neurons=5, head_dim=4, hidden_size=16)
COSTS = UnitCosts(head=7, kv_group=11, neuron=3)


def test_costs_are_sums_over_kept_units() -> None:
    kept = SubNetwork(
        shape=SHAPE,
        heads_LH=np.array([[1, 1, 0, 0], [1, 0, 0, 1]], dtype=bool),
        neurons_LN=np.array([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]], dtype=bool),
    )
    assert COSTS.of(kept) == (2 * 7 + 1 * 11 + 3 * 3) + (2 * 7 + 2 * 11)


def test_costs_of_everything() -> None:
    assert COSTS.layers_total(SHAPE) == 2 * (4 * 7 + 2 * 11 + 5 * 3) == COSTS.of(SubNetwork.full(SHAPE))
