"""Sub-networks of every family: masked, activated and extracted, they compute the same thing."""

import numpy as np
import pytest
import torch

from nas.supernet.families import FAMILIES, Sublayer, UnsupportedArchitectureError, family_of
from nas.supernet.masking import masked
from nas.supernet.supernet import Supernet
from search_spaces.base import UnitRanking
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.tiny_models import DECODERS, TINY_MODELS, tiny_model, token_ids

families = pytest.mark.parametrize("name", TINY_MODELS)
decoders = pytest.mark.parametrize("name", DECODERS)


def random_ranking(shape: SupernetShape, rng: np.random.Generator) -> UnitRanking:
    ranking = UnitRanking.as_numbered(shape)
    return UnitRanking(
        kv_groups_LK=rng.permuted(ranking.kv_groups_LK, axis=1),
        heads_LKG=rng.permuted(ranking.heads_LKG, axis=2),
        neurons_LN=rng.permuted(ranking.neurons_LN, axis=1),
        attention_L=rng.random(shape.num_layers),
        mlp_L=rng.random(shape.num_layers),
    )


def random_sub_network(shape: SupernetShape, rng: np.random.Generator) -> SubNetwork:
    """Any valid mask: widths and drops differ in every layer."""
    kv_groups_L = rng.integers(0, shape.num_kv_groups + 1, shape.num_layers)
    kv_groups_L[list(shape.required_attention)] = rng.integers(1, shape.num_kv_groups + 1)
    return random_ranking(shape, rng).keep_best(
        shape,
        kv_groups_L=kv_groups_L,
        heads_per_group_L=rng.integers(1, shape.heads_per_group + 1, shape.num_layers),
        neurons_L=rng.integers(0, shape.num_neurons + 1, shape.num_layers),
    )


def extremes(shape: SupernetShape) -> list[SubNetwork]:
    """Everything; the least; only the first attention; whole layers gone; each kind of sublayer gone."""

    def keep(heads_L: list[int], neurons_L: list[int]) -> SubNetwork:
        for layer in shape.required_attention:
            heads_L[layer] = max(1, heads_L[layer])
        return UnitRanking.as_numbered(shape).keep_best(
            shape,
            kv_groups_L=np.array(heads_L),
            heads_per_group_L=np.full(shape.num_layers, shape.heads_per_group),
            neurons_L=np.array(neurons_L),
        )

    layers, groups, neurons = shape.num_layers, shape.num_kv_groups, shape.num_neurons
    return [
        SubNetwork.full(shape),
        keep([1] * layers, [1] * layers),
        keep([0] * layers, [0] * layers),
        keep([groups, 0] * (layers // 2), [neurons, 0] * (layers // 2)),
        keep([0] * layers, [neurons] * layers),
        keep([groups] * layers, [0] * layers),
    ]


def candidates(shape: SupernetShape) -> list[SubNetwork]:
    rng = np.random.default_rng(0)
    return extremes(shape) + [random_sub_network(shape, rng) for _ in range(12)]


@torch.no_grad()
def logits_of(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    return model(input_ids=ids).logits  # type: ignore[no-any-return]


def assert_equal_logits(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Exactly, but for rounding: in float64 that leaves no room for a mistake."""
    tolerance = 1e-6 if expected.dtype is torch.float64 else 2e-4
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@families
def test_masked_activated_and_extracted_logits_agree(name: str) -> None:
    supernet, ids = Supernet(tiny_model(name).double()), token_ids()
    for sub_network in candidates(supernet.shape):
        with masked(supernet, sub_network) as model:
            expected = logits_of(model, ids)
        with supernet.activate(sub_network) as model:
            assert_equal_logits(logits_of(model, ids), expected)
        assert_equal_logits(logits_of(supernet.extract(sub_network), ids), expected)


@families
def test_activation_restores_exactly(name: str) -> None:
    supernet, ids = Supernet(tiny_model(name).double()), token_ids()
    before = logits_of(supernet.model, ids)
    weights = {key: value.clone() for key, value in supernet.model.state_dict().items()}
    for sub_network in candidates(supernet.shape):
        with supernet.activate(sub_network) as model:
            logits_of(model, ids)
        assert torch.equal(logits_of(supernet.model, ids), before)
    after = supernet.model.state_dict()
    assert weights.keys() == after.keys()
    assert all(torch.equal(weights[key], after[key]) for key in weights)


@families
def test_ranked_supernet_computes_the_same(name: str) -> None:
    supernet, ids, rng = Supernet(tiny_model(name).double()), token_ids(), np.random.default_rng(3)
    expected = []
    for sub_network in candidates(supernet.shape):
        with masked(supernet, sub_network) as model:
            expected.append(logits_of(model, ids))
    for _ in range(2):  # The second time starts from an order that is not the original one.
        supernet.order_by(random_ranking(supernet.shape, rng))
        for sub_network, logits in zip(candidates(supernet.shape), expected, strict=True):
            with supernet.activate(sub_network) as model:
                assert_equal_logits(logits_of(model, ids), logits)


@families
def test_best_units_are_views(name: str) -> None:
    """A size of a ranked space costs no copy: every active weight lies in the supernet's own storage."""
    supernet, rng = Supernet(tiny_model(name).double()), np.random.default_rng(4)
    ranking = random_ranking(supernet.shape, rng)
    supernet.order_by(ranking)
    storages = {parameter.untyped_storage().data_ptr() for parameter in supernet.model.parameters()}
    weights = {key: value.clone() for key, value in supernet.model.state_dict().items()}
    layers = supernet.shape.num_layers
    sub_network = ranking.keep_best(
        supernet.shape,
        kv_groups_L=np.arange(1, layers + 1) % supernet.shape.num_kv_groups + 1,
        heads_per_group_L=np.full(layers, supernet.shape.heads_per_group),
        neurons_L=np.arange(3, 3 + layers),
    )
    with supernet.activate(sub_network) as model:
        assert {parameter.untyped_storage().data_ptr() for parameter in model.parameters()} <= storages
        held = [(parameter.data_ptr(), parameter.numel()) for parameter in model.parameters()]
    assert len(held) > 0
    assert all(torch.equal(weights[key], value) for key, value in supernet.model.state_dict().items())


@families
def test_parameter_counts_are_exact(name: str) -> None:
    """Against counting by hand: what each kept unit costs, plus what a kept sublayer and the rest always hold."""
    supernet = Supernet(tiny_model(name).double())
    shape, family = supernet.shape, supernet.family
    layer = supernet.layers[0]
    layer_size = num_parameters(layer)
    outside = num_parameters(supernet.model) - shape.num_layers * layer_size
    per_head, per_group, per_neuron = unit_costs(supernet)
    attention_extra = sublayer_extra(layer, family.attention, own_module=family.attention_module)
    mlp_extra = sublayer_extra(layer, family.mlp)
    units = shape.num_heads * per_head + shape.num_kv_groups * per_group + shape.num_neurons * per_neuron
    layer_extra = layer_size - units - attention_extra - mlp_extra
    for sub_network in candidates(shape):
        expected = outside + len(sub_network.kept_layers) * layer_extra
        for index in range(shape.num_layers):
            if num_heads := sub_network.num_heads[index]:
                expected += attention_extra + num_heads * per_head + sub_network.num_kv_groups[index] * per_group
            if num_neurons := sub_network.num_neurons[index]:
                expected += mlp_extra + num_neurons * per_neuron
        assert num_parameters(supernet.extract(sub_network)) == expected


def num_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def unit_costs(supernet: Supernet) -> tuple[int, int, int]:
    """Parameters of one query head, one KV group and one neuron, from the textbook."""
    shape, layer = supernet.shape, supernet.layers[0]
    hidden = shape.hidden_size

    def has_bias(projection: int, sublayer: Sublayer) -> bool:
        return layer.get_submodule(sublayer.projections[projection].path)._parameters.get("bias") is not None

    attention, mlp = supernet.family.attention, supernet.family.mlp
    row = hidden + has_bias(0, attention)
    num_gates = (
        2
        if supernet.model.config.model_type in {"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3"}
        else 1
    )
    per_neuron = num_gates * (hidden + has_bias(0, mlp)) + hidden
    return shape.head_dim * (row + hidden), 2 * shape.head_dim * row, per_neuron


def sublayer_extra(layer: torch.nn.Module, sublayer: Sublayer, own_module: str | None = None) -> int:
    """What a sublayer holds beside its units: its norms, its output bias, and Qwen3's and Gemma 3's q and k norms."""
    extra = sum(num_parameters(layer.get_submodule(path)) for path in sublayer.norms)
    bias = layer.get_submodule(sublayer.output)._parameters.get("bias")
    extra += 0 if bias is None else bias.numel()
    if own_module is not None:
        names = ("q_norm", "k_norm")
        children = dict(layer.get_submodule(own_module).named_children())
        extra += sum(num_parameters(children[name]) for name in names if name in children)
    return extra


@decoders
@pytest.mark.parametrize("extracted", [False, True])
def test_cached_generation_equals_uncached(name: str, extracted: bool) -> None:
    supernet, ids = Supernet(tiny_model(name).double()), token_ids(batch_size=2, num_tokens=7)
    for sub_network in candidates(supernet.shape):
        assert_cached_generation_equals_uncached(supernet, sub_network, ids, extracted=extracted)


def assert_cached_generation_equals_uncached(
    supernet: Supernet, sub_network: SubNetwork, ids: torch.Tensor, *, extracted: bool
) -> None:
    if extracted:
        generated = [_generate(supernet.extract(sub_network), ids, cached) for cached in (True, False)]
    else:
        with supernet.activate(sub_network) as model:
            generated = [_generate(model, ids, cached) for cached in (True, False)]
    assert torch.equal(*generated)


def _generate(model: torch.nn.Module, ids: torch.Tensor, use_cache: bool) -> torch.Tensor:
    return model.generate(  # type: ignore[operator,no-any-return]
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=6,
        do_sample=False,
        use_cache=use_cache,
        eos_token_id=None,
        pad_token_id=0,
    )


@families
def test_nested_activation_returns_to_the_outer_one(name: str) -> None:
    supernet, ids = Supernet(tiny_model(name).double()), token_ids()
    outer, inner = candidates(supernet.shape)[-2:]
    full = logits_of(supernet.model, ids)
    with supernet.activate(outer) as model:
        expected = logits_of(model, ids)
        with supernet.activate(SubNetwork.full(supernet.shape)) as same:
            assert torch.equal(logits_of(same, ids), full)
        with supernet.activate(inner):
            assert supernet.active == inner
        assert torch.equal(logits_of(model, ids), expected)
    assert torch.equal(logits_of(supernet.model, ids), full)


@families
def test_uniform_sub_networks_reload_natively_or_keep_their_class(name: str, tmp_path: object) -> None:
    supernet = Supernet(tiny_model(name).double())
    extracted = supernet.extract(SubNetwork.full(supernet.shape))
    assert type(extracted) is type(supernet.model)
    assert extracted.config is not supernet.model.config


def test_every_model_type_has_a_tiny_model() -> None:
    assert set(TINY_MODELS) == set(FAMILIES)


def test_activation_restores_after_an_exception() -> None:
    supernet, ids = Supernet(tiny_model("llama")), token_ids()
    before = logits_of(supernet.model, ids)
    sub_network = candidates(supernet.shape)[-1]
    with pytest.raises(KeyError, match="inside"), supernet.activate(sub_network):
        raise KeyError("inside")
    assert torch.equal(logits_of(supernet.model, ids), before)


def test_unsupported_architecture_lists_the_supported() -> None:
    with pytest.raises(UnsupportedArchitectureError, match=r"must be one of bert, .*qwen3.*got 'mamba'"):
        family_of("mamba")


def test_sub_network_of_another_supernet_is_refused() -> None:
    supernet = Supernet(tiny_model("llama"))
    other = SubNetwork.full(
        SupernetShape(num_layers=1, num_heads=1, num_kv_groups=1, num_neurons=1, head_dim=1, hidden_size=1)
    )
    with pytest.raises(ValueError, match="must be cut from this supernet"), supernet.activate(other):
        pass


def test_weights_are_not_reordered_under_an_active_sub_network() -> None:
    supernet = Supernet(tiny_model("llama"))
    with supernet.activate(candidates(supernet.shape)[1]), pytest.raises(RuntimeError, match="cannot be reordered"):
        supernet.order_by(supernet.ranking)
