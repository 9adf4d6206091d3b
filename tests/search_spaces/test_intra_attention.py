from dataclasses import replace

import numpy as np
import pytest

from search_spaces import make_space
from search_spaces.base import SearchSpaceError, UnitRanking, largest, sample
from search_spaces.intra_attention import IntraAttentionSpace, dims_by_layer
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork

SHAPE = SupernetShape(
    num_layers=2, num_heads=4, num_kv_groups=2, num_neurons=16, head_dim=8, hidden_size=32, rotary_dims=8
)


def space(shape: SupernetShape = SHAPE, ranking: UnitRanking | None = None, **options: object) -> IntraAttentionSpace:
    built = make_space("intra_attention", shape, ranking or UnitRanking.as_numbered(shape), **options)
    assert isinstance(built, IntraAttentionSpace)
    return built


def sizes(built: IntraAttentionSpace) -> dict[str, tuple[int, ...]]:
    return {choice.name: choice.sizes for choice in built.choices}


def test_widths_of_heads_beside_those_of_joint() -> None:
    found = sizes(space())
    assert found["layer_0.kv_groups"] == (1, 2)
    assert found["layer_1.kv_groups"] == (0, 1, 2)
    assert found["layer_1.queries"] == (1, 2, 3, 4)  # pairs
    assert found["layer_1.values"] == (2, 4, 6, 8)


def test_where_positions_turn_nothing_queries_count_dimensions() -> None:
    assert sizes(space(replace(SHAPE, rotary_dims=0)))["layer_0.queries"] == (2, 4, 6, 8)


def test_where_positions_turn_some_dimensions_the_rest_count_one_by_one() -> None:
    assert sizes(space(replace(SHAPE, rotary_dims=4), dims_multiple_of=1))["layer_0.queries"] == (1, 2, 3, 4, 5, 6)


def test_normalised_queries_are_no_choice() -> None:
    shape = replace(SHAPE, whole_queries=True)
    assert not [name for name in sizes(space(shape)) if name.endswith("queries")]
    sub_network = space(shape).sub_network(tuple(0 for _ in space(shape).choices))
    assert sub_network.queries_LKD is None
    assert sub_network.values_LKD is not None


def test_the_best_dimensions_stay_and_pairs_stay_together() -> None:
    ranking = replace(
        UnitRanking.as_numbered(SHAPE),
        queries_LKU=np.tile([3, 1, 0, 2], (2, 2, 1)),
        values_LKD=np.tile([7, 2, 0, 1, 3, 4, 5, 6], (2, 2, 1)),
    )
    built = space(ranking=ranking)
    chosen = {**dict.fromkeys(sizes(built), -1), "layer_1.queries": 1, "layer_1.values": 0, "layer_1.kv_groups": 1}
    candidate = tuple(range(len(choice.sizes))[chosen[choice.name]] for choice in built.choices)
    sub_network = built.sub_network(candidate)
    assert np.flatnonzero(sub_network.query_dims_LKD[1, 0]).tolist() == [1, 3, 5, 7]
    assert np.flatnonzero(sub_network.value_dims_LKD[1, 0]).tolist() == [2, 7]
    assert not sub_network.query_dims_LKD[1, 1].any()  # of a group that is gone
    assert sub_network.query_dims_LKD[0].all()


def test_a_dropped_attention_has_no_widths() -> None:
    built = space()
    names = list(sizes(built))
    candidate = list(largest(built))
    candidate[names.index("layer_1.kv_groups")] = 0
    canonical = built.canonical(tuple(candidate))
    assert canonical[names.index("layer_1.queries")] == canonical[names.index("layer_1.values")] == 0
    assert canonical[names.index("layer_0.values")] == 3


def test_nearest_to_uneven_heads_is_their_mean_rounded_down() -> None:
    values_LKD = np.ones((2, 2, 8), dtype=bool)
    values_LKD[0, 0, 3:] = False  # 3 and 8: mean 5.5, of which 4 is the next size
    full = SubNetwork.full(SHAPE)
    uneven = SubNetwork(shape=SHAPE, heads_LH=full.heads_LH, neurons_LN=full.neurons_LN, values_LKD=values_LKD)
    assert dims_by_layer(uneven) == {"queries": [4, 4], "values": [5, 8]}
    assert uneven.dims_share == (64 - 5) / 64
    built = space()
    nearest = built.sub_network(built.nearest(uneven))
    assert nearest.value_dims_LKD[0].sum(axis=1).tolist() == [4, 4]
    assert nearest.value_dims_LKD[1].all()


def test_sub_networks_come_back_from_json() -> None:
    built, rng = space(), np.random.default_rng(0)
    for _ in range(20):
        sub_network = built.sub_network(sample(built, rng))
        assert SubNetwork.from_json(sub_network.to_json(), SHAPE) == sub_network


def test_runtimes_that_cannot_load_it_are_refused() -> None:
    with pytest.raises(SearchSpaceError, match="loaded by transformers alone, got loadable_by=vllm"):
        space(loadable_by=["transformers", "vllm"])


@pytest.mark.parametrize("step", [0, 9])
def test_a_step_wider_than_the_head_is_refused(step: int) -> None:
    with pytest.raises(SearchSpaceError, match=f"between 1 and the supernet's head_dim=8, got {step}; choose 2"):
        space(dims_multiple_of=step)
