"""Sub-networks that cut heads: masked, activated and extracted, they compute the same thing."""

import numpy as np
import pytest
import torch

from nas.supernet.masking import masked
from nas.supernet.own_weights import OwnWeights
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.cut_sub_networks import cut_candidates
from tests.nas.supernet.test_own_weights import trained
from tests.nas.supernet.test_supernet import (
    assert_cached_generation_equals_uncached,
    decoders,
    families,
    logits_of,
    num_parameters,
    random_ranking,
)
from tests.nas.supernet.tiny_models import tiny_model, token_ids


def assert_equal(actual: torch.Tensor, expected: torch.Tensor, supernet: Supernet) -> None:
    """In float64, but for the norms of queries and keys: they sum in float32, and here in another order."""
    tolerance = 1e-3 if supernet.shape.whole_queries else 1e-6
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@families
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_masked_activated_and_extracted_logits_agree(name: str, attention: str) -> None:
    model = tiny_model(name).double()
    if name != "gemma2":  # whose capped attention is eager
        model.set_attn_implementation(attention)
    supernet, ids = Supernet(model), token_ids()
    for sub_network in cut_candidates(supernet.shape):
        with masked(supernet, sub_network) as model:
            expected = logits_of(model, ids)
        with supernet.activate(sub_network) as model:
            assert_equal(logits_of(model, ids), expected, supernet)
        assert_equal(logits_of(supernet.extract(sub_network), ids), expected, supernet)


@families
def test_padding_is_masked_as_in_the_whole_model(name: str) -> None:
    supernet, ids = Supernet(tiny_model(name).double()), token_ids()
    attention_mask = torch.ones_like(ids)
    attention_mask[0, 9:] = 0
    attention_mask[1, 10:] = 0
    for sub_network in cut_candidates(supernet.shape, num_random=3):
        with masked(supernet, sub_network) as model, torch.no_grad():
            expected = model(input_ids=ids, attention_mask=attention_mask).logits
        with supernet.activate(sub_network) as model, torch.no_grad():
            assert_equal(model(input_ids=ids, attention_mask=attention_mask).logits, expected, supernet)


@families
def test_activation_restores_exactly(name: str) -> None:
    supernet, ids = Supernet(tiny_model(name).double()), token_ids()
    before, modules = logits_of(supernet.model, ids), [type(module) for module in supernet.model.modules()]
    weights = {key: value.clone() for key, value in supernet.model.state_dict().items()}
    for sub_network in cut_candidates(supernet.shape):
        with supernet.activate(sub_network) as model:
            logits_of(model, ids)
        assert torch.equal(logits_of(supernet.model, ids), before)
    after = supernet.model.state_dict()
    assert weights.keys() == after.keys()
    assert all(torch.equal(weights[key], after[key]) for key in weights)
    assert [type(module) for module in supernet.model.modules()] == modules


@families
def test_ranked_supernet_computes_the_same(name: str) -> None:
    supernet, ids, rng = Supernet(tiny_model(name).double()), token_ids(), np.random.default_rng(3)
    expected = []
    for sub_network in cut_candidates(supernet.shape):
        with masked(supernet, sub_network) as model:
            expected.append(logits_of(model, ids))
    for _ in range(2):  # The second time starts from an order that is not the original one.
        supernet.order_by(random_ranking(supernet.shape, rng))
        for sub_network, logits in zip(cut_candidates(supernet.shape), expected, strict=True):
            with supernet.activate(sub_network) as model:
                assert_equal(logits_of(model, ids), logits, supernet)


@decoders
@pytest.mark.parametrize("extracted", [False, True])
def test_cached_generation_equals_uncached(name: str, extracted: bool) -> None:
    supernet, ids = Supernet(tiny_model(name).double()), token_ids(batch_size=2, num_tokens=7)
    for sub_network in cut_candidates(supernet.shape, num_random=3):
        assert_cached_generation_equals_uncached(supernet, sub_network, ids, extracted=extracted)


@families
def test_removed_parameters_are_gone(name: str) -> None:
    """Each removed dimension of a group takes its rows of query, key and value and its columns of the output."""
    supernet = Supernet(tiny_model(name).double())
    shape, layer = supernet.shape, supernet.layers[0]
    row = shape.hidden_size + (
        layer.get_submodule(supernet.family.attention.projections[0].path)._parameters.get("bias") is not None
    )
    for cut in cut_candidates(shape):
        whole = SubNetwork(shape=shape, heads_LH=cut.heads_LH, neurons_LN=cut.neurons_LN)
        expected = num_parameters(supernet.extract(whole))
        for index in range(shape.num_layers):
            for group in np.flatnonzero(cut.kv_groups_LK[index]):
                heads = cut.num_heads[index] // cut.num_kv_groups[index]
                queries = shape.head_dim - int(cut.query_dims_LKD[index, group].sum())
                values = shape.head_dim - int(cut.value_dims_LKD[index, group].sum())
                expected -= queries * row * (heads + 1) + values * (row + heads * shape.hidden_size)
        assert num_parameters(supernet.extract(cut)) == expected


@families
def test_weights_of_its_own_take_the_places_of_the_supernets(name: str) -> None:
    supernet, ids = Supernet(tiny_model(name).double()), token_ids()
    cut = cut_candidates(supernet.shape)[-1]
    model = trained(supernet.extract(cut), seed=0)
    weights, expected = OwnWeights.of(model), logits_of(model, ids)
    supernet.order_by(random_ranking(supernet.shape, np.random.default_rng(1)))
    with supernet.activate(cut, weights) as active:
        torch.testing.assert_close(logits_of(active, ids), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(logits_of(supernet.extract(cut, weights), ids), expected, rtol=1e-6, atol=1e-6)


def test_kernels_that_need_equal_widths_are_refused() -> None:
    supernet = Supernet(tiny_model("llama"))
    with supernet.activate(cut_candidates(supernet.shape)[0]) as model:
        model.config._attn_implementation = "flex_attention"
        with pytest.raises(
            ValueError, match="need the sdpa or eager attention, got flex_attention; load the model with"
        ):
            model.base_model.layers[0].self_attn(torch.zeros(1, 3, 32))  # type: ignore[operator, index]
