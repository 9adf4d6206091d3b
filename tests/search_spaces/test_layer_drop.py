import numpy as np
import pytest

from search_spaces.base import SearchSpaceError, UnitRanking
from search_spaces.layer_drop import LayerDropSpace
from search_spaces.sub_network import SubNetwork
from tests.search_spaces.spaces import GQA, TWO_CACHES

RANKING = UnitRanking.as_numbered(GQA)


def test_whole_layers_go() -> None:
    space = LayerDropSpace(GQA, RANKING)
    assert [choice.name for choice in space.choices] == ["layer_1", "layer_2"]
    sub_network = space.sub_network((0, 1))
    assert (sub_network.num_heads, sub_network.num_neurons) == ((4, 0, 4), (32, 0, 32))


def test_sublayers_go_but_for_the_attention_that_the_cache_needs() -> None:
    space = LayerDropSpace(TWO_CACHES, UnitRanking.as_numbered(TWO_CACHES), drop="sublayer")
    assert [choice.name for choice in space.choices] == [
        "layer_0.mlp",
        "layer_1.attention",
        "layer_1.mlp",
        "layer_2.mlp",
    ]
    sub_network = space.sub_network((0, 0, 1, 0))
    assert (sub_network.num_heads, sub_network.num_neurons) == ((4, 0, 4), (0, 64, 0))


def test_an_unknown_granularity_is_refused() -> None:
    with pytest.raises(SearchSpaceError, match="drop must be one of layer, sublayer, got 'block'"):
        LayerDropSpace(GQA, RANKING, drop="block")  # type: ignore[arg-type]


def thinned(heads_by_layer: tuple[int, ...], neurons_by_layer: tuple[int, ...]) -> SubNetwork:
    heads_LH = np.arange(GQA.num_heads) < np.array(heads_by_layer)[:, np.newaxis]
    neurons_LN = np.arange(GQA.num_neurons) < np.array(neurons_by_layer)[:, np.newaxis]
    return SubNetwork(shape=GQA, heads_LH=heads_LH, neurons_LN=neurons_LN)


def test_nearest_keeps_the_fullest_layers_that_the_units_fill() -> None:
    space = LayerDropSpace(GQA, RANKING)
    assert space.nearest(thinned((4, 2, 2), (24, 10, 30))) == (0, 1)
    assert space.nearest(thinned((4, 2, 1), (32, 32, 32))) == (0, 0)  # 7 heads fill one layer only, and that is layer 0


def test_nearest_decides_between_equals_by_importance() -> None:
    important = UnitRanking(
        kv_groups_LK=RANKING.kv_groups_LK,
        heads_LKG=RANKING.heads_LKG,
        neurons_LN=RANKING.neurons_LN,
        attention_L=np.array([0.0, 2.0, 1.0]),
        mlp_L=np.array([0.0, 0.0, 3.0]),
    )
    space = LayerDropSpace(GQA, important, drop="sublayer")
    # Room for one more attention, and for one MLP; layer 0 has no choice of attention.
    halves = thinned((4, 2, 2), (16, 16, 16))
    assert space.nearest(halves) == (0, 1, 0, 0, 1)
