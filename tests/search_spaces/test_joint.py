import pytest

from search_spaces.base import UnitRanking, num_candidates
from search_spaces.joint import JointSpace
from search_spaces.layer_drop import LayerDropSpace
from search_spaces.per_layer import PerLayerSpace
from search_spaces.uniform import UniformSpace
from tests.search_spaces.spaces import GQA, all_candidates, shuffled_ranking


def keys(space: UniformSpace | PerLayerSpace | LayerDropSpace | JointSpace) -> set[str]:
    return {space.sub_network(candidate).key for candidate in all_candidates(space)}


def test_zero_drops_a_sublayer_but_not_the_attention_that_the_cache_needs() -> None:
    space = JointSpace(GQA, UnitRanking.as_numbered(GQA), neurons_multiple_of=32)
    sizes = {choice.name: choice.sizes for choice in space.choices}
    assert sizes["layer_0.kv_groups"] == (1, 2)
    assert sizes["layer_1.kv_groups"] == (0, 1, 2)
    assert sizes["layer_0.neurons"] == (0, 32)


def test_a_fixed_attention_is_dropped_or_full() -> None:
    space = JointSpace(GQA, UnitRanking.as_numbered(GQA), heads="fixed", neurons_multiple_of=32)
    assert {choice.name: choice.sizes for choice in space.choices} == {
        "layer_0.neurons": (0, 32),
        "layer_1.kv_groups": (0, 2),
        "layer_1.neurons": (0, 32),
        "layer_2.kv_groups": (0, 2),
        "layer_2.neurons": (0, 32),
    }


@pytest.mark.parametrize("other", [UniformSpace, PerLayerSpace, LayerDropSpace])
def test_it_holds_the_other_spaces(other: type[UniformSpace] | type[PerLayerSpace] | type[LayerDropSpace]) -> None:
    ranking = shuffled_ranking(GQA, seed=2)
    options = {"drop": "sublayer"} if other is LayerDropSpace else {"neurons_multiple_of": 16}
    space = other(GQA, ranking, **options)
    joint = JointSpace(GQA, ranking, neurons_multiple_of=16)
    assert keys(space) < keys(joint)


def test_the_number_of_candidates_is_the_product_of_the_sizes() -> None:
    space = JointSpace(GQA, UnitRanking.as_numbered(GQA), heads="head", neurons_multiple_of=16)
    assert num_candidates(space) == (2 * 2 * 3) * (3 * 2 * 3) ** 2
    # By layer: attention dropped or 2 x 2 widths of it (layer 0 cannot drop it), times 3 widths of the MLP.
    assert len(keys(space)) == (4 * 3) * (5 * 3) ** 2
