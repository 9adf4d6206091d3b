"""Sub-networks of every family at ranks, against the full model with truncated matrices written into it."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from transformers.pytorch_utils import Conv1D

from evaluators.flops import count_flops
from evaluators.parameters import unique_parameters
from nas.supernet.low_rank.factors import factorise
from nas.supernet.low_rank.stand_ins import LowRankLinear, costs_less
from nas.supernet.output_weights import OutputWeights, OutputWeightsError
from nas.supernet.own_weights import OwnWeights
from nas.supernet.supernet import Supernet
from search_spaces.base import UnitRanking
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.test_supernet import (
    DECODERS,
    TINY_MODELS,
    assert_cached_generation_equals_uncached,
    assert_equal_logits,
    logits_of,
    num_parameters,
    random_ranking,
    tiny_model,
    token_ids,
)
from tests.nas.supernet.tiny_models import batches_of

families = pytest.mark.parametrize("name", TINY_MODELS)
decoders = pytest.mark.parametrize("name", DECODERS)


def with_ranks(supernet: Supernet, ranks_LM: Any, base: SubNetwork | None = None) -> SubNetwork:
    base = base or SubNetwork.full(supernet.shape)
    return SubNetwork(shape=supernet.shape, heads_LH=base.heads_LH, neurons_LN=base.neurons_LN, ranks_LM=ranks_LM)


def random_ranks(supernet: Supernet, seed: int = 0) -> SubNetwork:
    """Any rank, none at all among them; the second layer keeps its matrices, the third loses its MLP."""
    shape, rng = supernet.shape, np.random.default_rng(seed)
    full = [matrix.full_rank for matrix in shape.matrices]
    ranks_LM = rng.integers(0, np.array(full) + 1, (shape.num_layers, len(full)))
    ranks_LM[0] = [1 + number for number in range(len(full))]
    ranks_LM[1] = 0
    neurons_L = np.full(shape.num_layers, shape.num_neurons)
    neurons_L[2] = 0
    base = UnitRanking.as_numbered(shape).keep_best(
        shape,
        kv_groups_L=np.full(shape.num_layers, shape.num_kv_groups),
        heads_per_group_L=np.full(shape.num_layers, shape.heads_per_group),
        neurons_L=neurons_L,
    )
    return with_ranks(supernet, ranks_LM, base)


def dense_matrices(supernet: Supernet, sub_network: SubNetwork) -> torch.nn.Module:
    """The same sub-network without ranks, its matrices truncated one by one through NumPy's SVD."""
    assert sub_network.ranks_LM is not None
    plain = SubNetwork(shape=sub_network.shape, heads_LH=sub_network.heads_LH, neurons_LN=sub_network.neurons_LN)
    model = supernet.extract(plain)
    layers = model.base_model.get_submodule(supernet.family.layers)
    for index, layer in zip(sub_network.kept_layers, layers.children(), strict=True):
        for number, projection in enumerate(supernet.family.projections):
            if rank := int(sub_network.ranks_LM[index, number]):
                weight = layer.get_submodule(projection.path).get_parameter("weight")
                left, singular, right = np.linalg.svd(weight.numpy(), full_matrices=False)
                weight.copy_(torch.from_numpy(left[:, :rank] * singular[:rank] @ right[:rank]))
    return model


@families
def test_factorised_equals_truncated_matrices(name: str) -> None:
    supernet, ids = Supernet(tiny_model(name).double()), token_ids()
    full = logits_of(supernet.model, ids)
    for seed in range(3):
        sub_network = random_ranks(supernet, seed)
        expected = logits_of(dense_matrices(supernet, sub_network), ids)
        assert not torch.allclose(expected, full, atol=1e-3)
        with supernet.activate(sub_network) as model:
            assert_equal_logits(logits_of(model, ids), expected)
        assert_equal_logits(logits_of(supernet.extract(sub_network), ids), expected)
        assert torch.equal(logits_of(supernet.model, ids), full)


@families
@pytest.mark.parametrize("whitened", [False, True])
def test_full_rank_is_the_supernet(name: str, whitened: bool) -> None:
    supernet, ids = Supernet(tiny_model(name).double()), token_ids()
    supernet.order_directions_by(batches_of(token_ids(seed=5)) if whitened else [])
    full_ranks = [[matrix.full_rank for matrix in supernet.shape.matrices]] * supernet.shape.num_layers
    expected = logits_of(supernet.model, ids)
    with supernet.activate(with_ranks(supernet, full_ranks)) as model:
        assert_equal_logits(logits_of(model, ids), expected)


@families
def test_the_order_of_units_does_not_matter(name: str) -> None:
    supernet, ids = Supernet(tiny_model(name).double()), token_ids()
    supernet.order_directions_by(batches_of(token_ids(seed=5)))
    sub_network = random_ranks(supernet)
    with supernet.activate(sub_network) as model:
        expected = logits_of(model, ids)
    supernet.order_by(random_ranking(supernet.shape, np.random.default_rng(1)))
    with supernet.activate(sub_network) as model:
        assert_equal_logits(logits_of(model, ids), expected)


@families
def test_parameters_and_flops_are_those_of_the_factors(name: str) -> None:
    supernet = Supernet(tiny_model(name))
    tokens = 8
    sub_network = random_ranks(supernet)
    assert sub_network.ranks_LM is not None
    plain = SubNetwork(shape=sub_network.shape, heads_LH=sub_network.heads_LH, neurons_LN=sub_network.neurons_LN)
    saved = 0
    for ranks_M in sub_network.ranks_LM:
        for rank, matrix in zip(ranks_M.tolist(), supernet.shape.matrices, strict=True):
            dense = matrix.num_outputs * matrix.num_inputs
            saved += dense - min(dense, rank * (matrix.num_outputs + matrix.num_inputs)) if rank else 0
    assert saved > 0
    with supernet.activate(plain) as model:
        parameters, flops = num_parameters(model), count_flops(model, num_tokens=tokens)
    with supernet.activate(sub_network) as model:
        assert sum(one.numel() for one in unique_parameters(model)) == parameters - saved
        assert count_flops(model, num_tokens=tokens) == flops - 2 * tokens * saved
    assert num_parameters(supernet.extract(sub_network)) == parameters - saved


@decoders
@pytest.mark.parametrize("extracted", [False, True])
def test_cached_generation_equals_uncached(name: str, extracted: bool) -> None:
    supernet, ids = Supernet(tiny_model(name).double()), token_ids(batch_size=2, num_tokens=7)
    sub_network = random_ranks(supernet)
    assert_cached_generation_equals_uncached(supernet, sub_network, ids, extracted=extracted)


def test_ranks_are_views_of_one_pair_of_factors() -> None:
    supernet = Supernet(tiny_model("llama"))
    storages = []
    for rank in (2, 5):
        with supernet.activate(with_ranks(supernet, np.full((4, len(supernet.shape.matrices)), rank))) as model:
            stand_ins = [module for module in model.modules() if isinstance(module, LowRankLinear)]
            storages.append([one.reduce.weight.untyped_storage().data_ptr() for one in stand_ins])
    assert len(storages[0]) == 4 * len(supernet.shape.matrices)
    assert storages[0] == storages[1]


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_extracted_models_hold_ordinary_modules_of_their_own(name: str) -> None:
    """Two ``nn.Linear`` below break-even; above it one matrix of the original kind."""
    supernet = Supernet(tiny_model(name))
    matrices = supernet.shape.matrices
    ranks_LM = np.array([[1] * len(matrices), [matrix.full_rank for matrix in matrices]] * 2)
    extracted = supernet.extract(with_ranks(supernet, ranks_LM))
    first, second = list(extracted.base_model.get_submodule(supernet.family.layers).children())[:2]
    for projection in supernet.family.projections:
        factorised = first.get_submodule(projection.path)
        assert isinstance(factorised, LowRankLinear)
        assert type(factorised.reduce) is type(factorised.expand) is torch.nn.Linear
        assert isinstance(second.get_submodule(projection.path), Conv1D if name == "gpt2" else torch.nn.Linear)
    before = logits_of(extracted, token_ids())
    for parameter in supernet.model.parameters():
        parameter.zero_()
    assert torch.equal(logits_of(extracted, token_ids()), before)
    assert torch.equal(logits_of(copy.deepcopy(extracted), token_ids()), before)


def test_whitened_directions_lose_less_on_the_calibration_examples() -> None:
    supernet, ids = Supernet(tiny_model("llama")), token_ids(8)
    expected = logits_of(supernet.model, ids)
    sub_network = with_ranks(supernet, np.full((4, len(supernet.shape.matrices)), 6))
    errors = []
    for batches in ([], batches_of(ids)):
        supernet.order_directions_by(batches)
        with supernet.activate(sub_network) as model:
            errors.append((logits_of(model, ids) - expected).square().mean().item())
    assert errors[1] < errors[0]


def test_two_factors_are_worth_it_below_break_even_alone() -> None:
    assert costs_less(7, 16, 16)
    assert not costs_less(8, 16, 16)
    assert factorise(torch.ones(16, 16)).product(1).shape == (16, 16)


@families
def test_own_weights_of_a_factorised_sub_network(name: str) -> None:
    """What training the factors gives, in the supernet and in a copy, however the supernet is ordered."""
    supernet, ids = Supernet(tiny_model(name).double()), token_ids()
    sub_network = random_ranks(supernet)
    model = supernet.extract(sub_network)
    rng = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
    weights, expected = OwnWeights.of(model), logits_of(model, ids)
    supernet.order_by(random_ranking(supernet.shape, np.random.default_rng(2)))
    before = logits_of(supernet.model, ids)
    with supernet.activate(sub_network, weights) as active:
        assert_equal_logits(logits_of(active, ids), expected)
    assert_equal_logits(logits_of(supernet.extract(sub_network, weights), ids), expected)
    assert torch.equal(logits_of(supernet.model, ids), before)


def test_output_weights_of_factorised_matrices_are_refused() -> None:
    supernet = Supernet(tiny_model("llama"))
    ranks_LM = np.zeros((4, len(supernet.shape.matrices)), dtype=np.int64)
    ranks_LM[1, -1] = 2
    weights = OutputWeights(attention={1: torch.zeros(32, 32)}, mlp={1: torch.zeros(32, 24)})
    with (
        pytest.raises(OutputWeightsError, match="not factorised, got some of the mlp of layer 1; leave that layer out"),
        supernet.activate(with_ranks(supernet, ranks_LM), weights),
    ):
        pass
