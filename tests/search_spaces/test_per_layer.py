import numpy as np

from search_spaces.base import UnitRanking, as_sizes
from search_spaces.per_layer import PerLayerSpace
from search_spaces.sub_network import SubNetwork
from tests.search_spaces.spaces import MHA, TWO_CACHES, all_candidates


def test_choices_are_named_by_layer() -> None:
    space = PerLayerSpace(MHA, UnitRanking.as_numbered(MHA), neurons_multiple_of=10)
    assert as_sizes(space, (0, 1, 2, 0)) == {
        "layer_0.kv_groups": 1,
        "layer_0.neurons": 20,
        "layer_1.kv_groups": 3,
        "layer_1.neurons": 10,
    }
    sub_network = space.sub_network((0, 1, 2, 0))
    assert (sub_network.num_heads, sub_network.num_neurons) == ((1, 3), (20, 10))


def test_nothing_is_dropped() -> None:
    space = PerLayerSpace(MHA, UnitRanking.as_numbered(MHA), neurons_multiple_of=10)
    for candidate in all_candidates(space):
        sub_network = space.sub_network(candidate)
        assert all(sub_network.num_heads)
        assert all(sub_network.num_neurons)


def test_one_kv_group_is_no_choice_without_its_heads() -> None:
    ranking = UnitRanking.as_numbered(TWO_CACHES)
    by_group = PerLayerSpace(TWO_CACHES, ranking, heads="kv_group", neurons_multiple_of=32)
    by_head = PerLayerSpace(TWO_CACHES, ranking, heads="head", neurons_multiple_of=32)
    assert [choice.name for choice in by_group.choices][:2] == ["layer_0.neurons", "layer_1.neurons"]
    assert [choice.name for choice in by_head.choices][:2] == ["layer_0.heads_per_group", "layer_0.neurons"]


def test_nearest_brings_dropped_sublayers_back_at_their_smallest() -> None:
    space = PerLayerSpace(MHA, UnitRanking.as_numbered(MHA), neurons_multiple_of=10)
    heads_LH = np.array([[1, 0, 1], [0, 0, 0]], dtype=np.bool_)
    neurons_LN = np.zeros((2, 20), dtype=np.bool_)
    neurons_LN[1, ::2] = True
    candidate = space.nearest(SubNetwork(shape=MHA, heads_LH=heads_LH, neurons_LN=neurons_LN))
    assert tuple(as_sizes(space, candidate).values()) == (2, 10, 1, 10)
