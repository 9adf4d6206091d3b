import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from search_spaces.embedding import Band
from search_spaces.shape import Matrix
from search_spaces.sub_network import InvalidSubNetworkError, SubNetwork
from tests.search_spaces.spaces import GQA

FULL = SubNetwork.full(GQA)
WITH_TOKENS = SubNetwork.full(replace(GQA, vocab_size=50))


def with_heads(layer: int, heads_H: list[int]) -> SubNetwork:
    heads_LH = FULL.heads_LH.copy()
    heads_LH[layer] = heads_H
    return replace(FULL, heads_LH=heads_LH)


def test_counts() -> None:
    sub_network = with_heads(1, [0, 0, 1, 0])
    assert sub_network.num_heads == (4, 1, 4)
    assert sub_network.num_kv_groups == (2, 1, 2)
    assert sub_network.num_neurons == (32, 32, 32)


def test_full_and_uniform() -> None:
    assert FULL.is_full
    assert FULL.is_uniform
    narrower = with_heads(1, [0, 0, 1, 1])
    assert not narrower.is_full
    assert not narrower.is_uniform


def test_a_dropped_layer_leaves_the_rest_uniform_and_a_dropped_sublayer_does_not() -> None:
    neurons_LN = FULL.neurons_LN.copy()
    neurons_LN[1] = False
    no_attention = with_heads(1, [0, 0, 0, 0])
    assert not no_attention.is_uniform
    assert no_attention.kept_layers == (0, 1, 2)
    no_layer = replace(no_attention, neurons_LN=neurons_LN)
    assert no_layer.is_uniform
    assert no_layer.kept_layers == (0, 2)


def test_masks_are_private_and_read_only() -> None:
    heads_LH = np.ones((3, 4), dtype=np.bool_)
    sub_network = replace(FULL, heads_LH=heads_LH)
    heads_LH[1] = False
    assert sub_network.is_full
    with pytest.raises(ValueError, match="read-only"):
        sub_network.heads_LH[1] = False


def test_equal_by_content() -> None:
    assert with_heads(1, [1, 1, 0, 0]) == with_heads(1, [1, 1, 0, 0])
    assert len({with_heads(1, [1, 1, 0, 0]), with_heads(1, [1, 1, 0, 0]), with_heads(1, [0, 0, 1, 1]), FULL}) == 3
    assert SubNetwork.full(replace(GQA, hidden_size=99)) != FULL
    assert FULL != "full"


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(InvalidSubNetworkError, match=r"heads_LH must have shape \(3, 4\), got \(2, 4\)"):
        replace(FULL, heads_LH=np.ones((2, 4), dtype=np.bool_))


def test_the_attention_that_the_cache_needs_must_stay() -> None:
    with pytest.raises(InvalidSubNetworkError, match=r"attention of layers \(0,\) must be kept.*layer 0 keeps no head"):
        with_heads(0, [0, 0, 0, 0])


def test_groups_must_keep_equally_many_heads() -> None:
    with pytest.raises(InvalidSubNetworkError, match=r"same number of query heads, got \[1, 2\] in layer 2; keep 1"):
        with_heads(2, [1, 1, 0, 1])


def damaged(**first_layer: Any) -> dict[str, Any]:
    description = FULL.to_json()
    description["layers"][0] |= first_layer
    return description


@pytest.mark.parametrize(
    "description",
    [{}, damaged(heads=[4]), damaged(neurons="zz"), {"key": "", "layers": 3}],
    ids=["empty", "no_such_head", "no_mask", "no_layers"],
)
def test_a_description_that_does_not_fit_is_refused(description: dict[str, Any]) -> None:
    with pytest.raises(InvalidSubNetworkError, match="must fit its supernet"):
        SubNetwork.from_json(description, GQA)


@pytest.mark.parametrize("damage", [{"neurons": "ffff"}, {"heads": [0, 1]}], ids=["cut_short", "other_heads"])
def test_a_description_that_was_altered_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(InvalidSubNetworkError, match=f"must match its key {FULL.key}, but it describes"):
        SubNetwork.from_json(damaged(**damage), GQA)


ROTARY = replace(
    GQA,
    rotary_dims=4,
    matrices=(
        Matrix(name="q_proj", sublayer="attention", num_outputs=16, num_inputs=16),
        Matrix(name="up_proj", sublayer="mlp", num_outputs=32, num_inputs=16),
    ),
)
WHOLE = SubNetwork.full(ROTARY)


def dims(layer: int, group: int, removed: list[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    mask_LKD = np.ones((ROTARY.num_layers, ROTARY.num_kv_groups, ROTARY.head_dim), dtype=np.bool_)
    mask_LKD[layer, group, removed] = False
    return mask_LKD


def ranks(layer: int, q_proj: int, up_proj: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    ranks_LM = np.zeros((ROTARY.num_layers, 2), dtype=np.int64)
    ranks_LM[layer] = q_proj, up_proj
    return ranks_LM


def test_masks_that_keep_all_dimensions_are_none_and_leave_the_key_alone() -> None:
    spelt_out = replace(WHOLE, queries_LKD=dims(0, 0, []), values_LKD=dims(0, 0, []), ranks_LM=ranks(0, 0, 0))
    assert spelt_out == WHOLE
    assert spelt_out.is_full
    assert spelt_out.key == WHOLE.key == FULL.key


def test_dimensions_of_dropped_groups_do_not_count() -> None:
    heads_LH = WHOLE.heads_LH.copy()
    heads_LH[1, 2:] = False
    cut = replace(WHOLE, heads_LH=heads_LH, queries_LKD=dims(1, 1, [0, 2]))
    assert cut.queries_LKD is None
    assert not cut.query_dims_LKD[1, 1].any()
    assert cut.query_dims_LKD[1, 0].all()


def test_what_is_cut_within_heads_is_part_of_the_content() -> None:
    queries = replace(WHOLE, queries_LKD=dims(1, 0, [1, 3]))
    values = replace(WHOLE, values_LKD=dims(1, 0, [1, 3]))
    assert len({WHOLE.key, queries.key, values.key}) == 3
    assert len({WHOLE, queries, values}) == 3
    for one in (queries, values):
        assert one.cuts_heads
        assert not one.is_full
        assert not one.is_uniform
        assert SubNetwork.from_json(one.to_json(), ROTARY) == one


def test_ranks_are_part_of_the_content() -> None:
    factorised = replace(WHOLE, ranks_LM=ranks(2, 5, 7))
    assert not factorised.is_full
    assert not factorised.is_uniform
    assert factorised != replace(WHOLE, ranks_LM=ranks(2, 5, 8))
    assert factorised.to_json()["layers"][2]["ranks"] == {"q_proj": 5, "up_proj": 7}
    assert SubNetwork.from_json(factorised.to_json(), ROTARY) == factorised


def test_a_dropped_sublayer_has_no_ranks() -> None:
    neurons_LN = WHOLE.neurons_LN.copy()
    neurons_LN[1] = False
    assert replace(WHOLE, neurons_LN=neurons_LN, ranks_LM=ranks(1, 0, 9)).ranks_LM is None


def test_two_dimensions_that_are_rotated_together_stay_together() -> None:
    with pytest.raises(InvalidSubNetworkError, match=r"i and i \+ 2 of a head are rotated together"):
        replace(WHOLE, queries_LKD=dims(0, 0, [1]))
    assert replace(WHOLE, values_LKD=dims(0, 0, [1])).cuts_heads


def test_a_kept_group_keeps_a_dimension() -> None:
    with pytest.raises(InvalidSubNetworkError, match="values_LKD, got none for group 1 of layer 2"):
        replace(WHOLE, values_LKD=dims(2, 1, [0, 1, 2, 3]))


@pytest.mark.parametrize("name", ["queries_LKD", "values_LKD", "ranks_LM"])
def test_masks_within_heads_and_ranks_have_a_shape(name: str) -> None:
    with pytest.raises(InvalidSubNetworkError, match=f"{name} must have shape"):
        replace(WHOLE, **{name: np.ones((1, 1, 1), dtype=np.bool_)})


@pytest.mark.parametrize("rank", [-1, 17])
def test_a_rank_must_be_one_that_the_matrix_can_have(rank: int) -> None:
    with pytest.raises(InvalidSubNetworkError, match=r"rank of q_proj must lie between 0 \(not factorised\) and 16"):
        replace(WHOLE, ranks_LM=ranks(0, rank, 0))


def test_a_factorised_sublayer_is_whole() -> None:
    with pytest.raises(InvalidSubNetworkError, match="layer 1 gives q_proj a rank and lacks units"):
        replace(with_heads(1, [1, 1, 0, 0]), shape=ROTARY, ranks_LM=ranks(1, 3, 0))


def test_ranks_from_which_factors_are_smaller() -> None:
    matrix = ROTARY.matrices[1]
    assert matrix.full_rank == 16
    assert matrix.break_even_rank == 10  # 10 × (32 + 16) = 480 <= 512 < 11 × 48


def test_normalised_queries_must_stay_whole() -> None:
    full = SubNetwork.full(GQA)
    whole = replace(GQA, whole_queries=True)
    queries_LKD = np.ones((whole.num_layers, whole.num_kv_groups, whole.head_dim), dtype=bool)
    kept = SubNetwork(shape=whole, heads_LH=full.heads_LH, neurons_LN=full.neurons_LN, queries_LKD=queries_LKD)
    assert kept.queries_LKD is None
    queries_LKD[0, 0, 0] = False
    with pytest.raises(InvalidSubNetworkError, match="normalised over the whole head must keep all dimensions"):
        SubNetwork(shape=whole, heads_LH=full.heads_LH, neurons_LN=full.neurons_LN, queries_LKD=queries_LKD)


def in_bands(*bands: tuple[int, int]) -> SubNetwork:
    return replace(WITH_TOKENS, bands=tuple(Band(num_tokens=num_tokens, rank=rank) for num_tokens, rank in bands))


def test_bands_are_part_of_the_content() -> None:
    one, two = in_bands((50, 4)), in_bands((10, 0), (40, 4))
    assert len({WITH_TOKENS, one, two, in_bands((50, 4))}) == 3
    for sub_network in (one, two):
        assert not sub_network.is_full
        assert not sub_network.is_uniform
        assert SubNetwork.from_json(json.loads(json.dumps(sub_network.to_json())), WITH_TOKENS.shape) == sub_network
    assert two.to_json()["bands"] == [[10, 0], [40, 4]]


def test_bands_without_a_rank_are_none_and_leave_the_record_alone() -> None:
    assert in_bands((10, 0), (40, 0)).bands is None
    assert in_bands((50, 0)) == WITH_TOKENS
    assert WITH_TOKENS.key == FULL.key
    assert "bands" not in WITH_TOKENS.to_json()


def test_bands_make_up_the_vocabulary() -> None:
    with pytest.raises(InvalidSubNetworkError, match=r"must hold the 50 tokens of the vocabulary, got 10 \+ 30; take"):
        in_bands((10, 2), (30, 4))


def test_a_rank_must_be_one_that_the_band_can_have() -> None:
    assert in_bands((10, 10), (40, 16)).bands is not None
    with pytest.raises(InvalidSubNetworkError, match=r"band of 10 tokens must lie between 0 .* and 10, got 11"):
        in_bands((10, 11), (40, 4))
    with pytest.raises(InvalidSubNetworkError, match=r"band of 40 tokens must lie between 0 .* and 16, got 17"):
        in_bands((10, 2), (40, 17))


def test_bands_need_a_plain_table() -> None:
    with pytest.raises(InvalidSubNetworkError, match="must be one plain table as wide as the residual stream"):
        replace(FULL, bands=(Band(num_tokens=50, rank=4),))


@pytest.mark.parametrize("bands", [[[50]], [["many", 4]], 7])
def test_a_description_of_bands_that_is_none(bands: Any) -> None:
    with pytest.raises(InvalidSubNetworkError, match="must fit its supernet"):
        SubNetwork.from_json({**WITH_TOKENS.to_json(), "bands": bands}, WITH_TOKENS.shape)
