"""Sub-networks with output weights of their own: activated, extracted and by a second path, they compute the same."""

import numpy as np
import pytest
import torch
from transformers.pytorch_utils import Conv1D

from nas.supernet.masking import UnitScales, scaled
from nas.supernet.output_weights import OutputWeights, OutputWeightsError, sublayer_of
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.cut_sub_networks import cut_candidates
from tests.nas.supernet.test_supernet import assert_equal_logits, candidates, logits_of, random_ranking
from tests.nas.supernet.tiny_models import DECODERS, TINY_MODELS, tiny_model, token_ids

families = pytest.mark.parametrize("name", TINY_MODELS)


def random_scales(sub_network: SubNetwork, seed: int = 0) -> UnitScales:
    """Random factors for kept units, zero for the rest."""
    ones = UnitScales.of(sub_network, dtype=torch.float32, device=torch.device("cpu"))
    rng = torch.Generator().manual_seed(seed)
    return UnitScales(
        heads_LH=ones.heads_LH * torch.randn(ones.heads_LH.shape, generator=rng),
        neurons_LN=ones.neurons_LN * torch.randn(ones.neurons_LN.shape, generator=rng),
        attention_L=ones.attention_L,
        mlp_L=ones.mlp_L,
    )


def scaled_columns(supernet: Supernet, sub_network: SubNetwork, scales: UnitScales) -> OutputWeights:
    """The supernet's output weights, in their original order, with each kept unit's columns scaled."""

    def weight(index: int, path: str) -> torch.Tensor:
        projection = supernet.layers[index].get_submodule(path)
        stored = projection.get_parameter("weight").detach().clone()
        return stored.T if isinstance(projection, Conv1D) else stored

    attention, mlp, width = {}, {}, supernet.shape.head_dim
    for index in range(supernet.shape.num_layers):
        if sub_network.num_heads[index]:
            kept_F = torch.from_numpy(sub_network.heads_LH[index].repeat(width))
            whole = weight(index, supernet.family.attention.output)
            attention[index] = (whole * scales.heads_LH[index].repeat_interleave(width))[:, kept_F]
        if sub_network.num_neurons[index]:
            kept_F = torch.from_numpy(sub_network.neurons_LN[index].copy())
            whole = weight(index, supernet.family.mlp.output)
            mlp[index] = (whole * scales.neurons_LN[index])[:, kept_F]
    return OutputWeights(attention=attention, mlp=mlp)


def all_layers_kept(supernet: Supernet) -> list[SubNetwork]:
    """Hooks cannot take a layer out, so the second path needs each to be there."""
    return [one for one in candidates(supernet.shape) if len(one.kept_layers) == supernet.shape.num_layers]


@families
def test_scaled_columns_are_scaled_units_however_the_supernet_is_ordered(name: str) -> None:
    supernet, ids, rng = Supernet(tiny_model(name)), token_ids(), np.random.default_rng(5)
    cases = []
    for number, sub_network in enumerate(all_layers_kept(supernet)):
        scales = random_scales(sub_network, seed=number)
        with scaled(supernet, scales) as model:
            cases.append((sub_network, scaled_columns(supernet, sub_network, scales), logits_of(model, ids)))
    assert {sub_network.is_full for sub_network, _, _ in cases} == {True, False}
    for ordered in (False, True):
        if ordered:
            supernet.order_by(random_ranking(supernet.shape, rng))
        for sub_network, weights, expected in cases:
            with supernet.activate(sub_network, weights) as model:
                assert_equal_logits(logits_of(model, ids), expected)
            assert_equal_logits(logits_of(supernet.extract(sub_network, weights), ids), expected)


@families
def test_extracted_copies_hold_the_weights(name: str) -> None:
    """Against scaling an extracted copy by hand; layers that were dropped whole included."""
    supernet, ids = Supernet(tiny_model(name)), token_ids()
    for sub_network in candidates(supernet.shape)[1:8]:
        weights = scaled_columns(supernet, sub_network, random_scales(sub_network))
        by_hand = supernet.extract(sub_network)
        layers = list(by_hand.base_model.get_submodule(supernet.family.layers).children())
        for sublayer, matrices in (("attention", weights.attention), ("mlp", weights.mlp)):
            path = sublayer_of(supernet.family, sublayer).output  # type: ignore[arg-type]
            for index, weight_DS in matrices.items():
                projection = layers[sub_network.kept_layers.index(index)].get_submodule(path)
                stored = weight_DS.T if isinstance(projection, Conv1D) else weight_DS
                projection.get_parameter("weight").data.copy_(stored)
        extracted = supernet.extract(sub_network, weights)
        assert_equal_logits(logits_of(extracted, ids), logits_of(by_hand, ids))
        assert all(parameter.is_contiguous() for parameter in extracted.parameters())


@families
def test_leaving_restores_exactly_and_nesting_returns_to_the_outer_weights(name: str) -> None:
    supernet, ids = Supernet(tiny_model(name)), token_ids()
    before = logits_of(supernet.model, ids)
    state = {key: value.clone() for key, value in supernet.model.state_dict().items()}
    full = SubNetwork.full(supernet.shape)
    for outer in (full, candidates(supernet.shape)[-1]):
        weights = scaled_columns(supernet, outer, random_scales(outer))
        with supernet.activate(outer, weights) as model:
            expected = logits_of(model, ids)
            with supernet.activate(full):
                assert torch.equal(logits_of(model, ids), before)
            with supernet.activate(outer):
                assert not torch.equal(logits_of(model, ids), expected)
            assert torch.equal(logits_of(model, ids), expected)
        assert torch.equal(logits_of(supernet.model, ids), before)
    after = supernet.model.state_dict()
    assert state.keys() == after.keys()
    assert all(torch.equal(state[key], after[key]) for key in state)


@pytest.mark.parametrize("name", DECODERS)
def test_generation_is_that_of_the_extracted_model(name: str) -> None:
    supernet, ids = Supernet(tiny_model(name)), token_ids(batch_size=2, num_tokens=6)
    for sub_network in candidates(supernet.shape)[-3:]:
        weights = scaled_columns(supernet, sub_network, random_scales(sub_network))
        with supernet.activate(sub_network, weights) as model:
            generated = [_generate(model, ids, use_cache) for use_cache in (True, False)]
        generated.append(_generate(supernet.extract(sub_network, weights), ids, True))
        assert torch.equal(generated[0], generated[1])
        assert torch.equal(generated[0], generated[2])


def _generate(model: torch.nn.Module, ids: torch.Tensor, use_cache: bool) -> torch.Tensor:
    return model.generate(  # type: ignore[operator,no-any-return]
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=5,
        do_sample=False,
        use_cache=use_cache,
        eos_token_id=None,
        pad_token_id=0,
    )


def test_absent_layers_keep_the_weights_of_the_supernet() -> None:
    supernet, ids = Supernet(tiny_model("llama")), token_ids()
    sub_network = candidates(supernet.shape)[-1]
    with supernet.activate(sub_network) as model:
        expected = logits_of(model, ids)
    with supernet.activate(sub_network, OutputWeights()) as model:
        assert torch.equal(logits_of(model, ids), expected)


def test_weights_take_the_dtype_of_the_model() -> None:
    supernet = Supernet(tiny_model("llama").bfloat16())
    sub_network = SubNetwork.full(supernet.shape)
    weights = OutputWeights(mlp={2: torch.full((32, 24), 0.25)})
    extracted = supernet.extract(sub_network, weights)
    assert {parameter.dtype for parameter in extracted.parameters()} == {torch.bfloat16}
    assert torch.equal(
        extracted.get_submodule("model.layers.2.mlp.down_proj").get_parameter("weight"),
        torch.full((32, 24), 0.25, dtype=torch.bfloat16),
    )


def test_positions_of_features_undo_the_order_of_the_supernet() -> None:
    supernet = Supernet(tiny_model("llama"))
    ranking = random_ranking(supernet.shape, np.random.default_rng(6))
    supernet.order_by(ranking)
    sub_network = candidates(supernet.shape)[-1]
    layer = next(index for index in sub_network.kept_layers if sub_network.num_neurons[index] > 2)
    kept_in_order = [unit for unit in ranking.neurons_LN[layer] if sub_network.neurons_LN[layer, unit]]
    positions_S = supernet.feature_positions(sub_network, layer, "mlp").tolist()
    assert [kept_in_order[position] for position in positions_S] == sorted(kept_in_order)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (OutputWeights(mlp={0: torch.zeros(32, 23)}), r"mlp of layer 0 must have shape \(32, 24\), got \(32, 23\)"),
        (OutputWeights(attention={1: torch.zeros(24, 32)}), r"attention of layer 1 must have shape \(32, 32\)"),
        (OutputWeights(mlp={1: torch.zeros(32, 0)}), "sublayers that the sub-network keeps, got some of the mlp of la"),
        (OutputWeights(attention={4: torch.zeros(32, 32)}), "of the attention of layer 4; leave that layer out"),
    ],
)
def test_weights_of_another_sub_network_are_refused(weights: OutputWeights, message: str) -> None:
    supernet, ids = Supernet(tiny_model("llama")), token_ids()
    full = SubNetwork.full(supernet.shape)
    neurons_LN = full.neurons_LN.copy()
    neurons_LN[1] = False
    sub_network = SubNetwork(shape=supernet.shape, heads_LH=full.heads_LH, neurons_LN=neurons_LN)
    before = logits_of(supernet.model, ids)
    with pytest.raises(OutputWeightsError, match=message), supernet.activate(sub_network, weights):
        pass
    assert torch.equal(logits_of(supernet.model, ids), before)


def test_weights_are_not_reordered_under_new_output_weights() -> None:
    supernet = Supernet(tiny_model("llama"))
    full = SubNetwork.full(supernet.shape)
    with supernet.activate(full, OutputWeights()), pytest.raises(RuntimeError, match="cannot be reordered"):
        supernet.order_by(supernet.ranking)


def test_attention_weights_of_cut_heads_are_refused() -> None:
    supernet = Supernet(tiny_model("llama"))
    cut = cut_candidates(supernet.shape)[0]
    weights = OutputWeights(attention={0: torch.zeros(32, 32)})
    with pytest.raises(OutputWeightsError, match="must be of whole heads"), supernet.activate(cut, weights):
        pass
