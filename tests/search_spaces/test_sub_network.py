from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from search_spaces.sub_network import InvalidSubNetworkError, SubNetwork
from tests.search_spaces.spaces import GQA

FULL = SubNetwork.full(GQA)


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
