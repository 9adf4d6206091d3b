"""Costs added up by unit, against the models themselves."""

from dataclasses import replace

import numpy as np
import pytest

from evaluators.flops import count_flops
from evaluators.parameters import unique_parameters
from nas.pruners.costs import UnitCosts, flops_costs, parameter_costs
from nas.supernet.supernet import Supernet
from search_spaces.embedding import Band
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.cut_sub_networks import cut_candidates
from tests.nas.supernet.tiny_models import TINY_MODELS, tiny_model

SHAPE = SupernetShape(num_layers=2, num_heads=4, num_kv_groups=2, num_neurons=5, head_dim=4, hidden_size=16)


def random_sub_network(shape: SupernetShape, seed: int) -> SubNetwork:
    """Any number of heads a group, any neurons, dropped sublayers and layers among them."""
    rng = np.random.default_rng(seed)
    heads_LH = np.zeros((shape.num_layers, shape.num_heads), dtype=bool)
    for layer in range(shape.num_layers):
        least = 1 if layer in shape.required_attention else 0
        groups = rng.permutation(shape.num_kv_groups)[: rng.integers(least, shape.num_kv_groups + 1)]
        per_group = rng.integers(1, shape.heads_per_group + 1)
        for group in groups:
            heads_LH[layer, group * shape.heads_per_group + rng.permutation(shape.heads_per_group)[:per_group]] = True
    neurons_LN = rng.random((shape.num_layers, shape.num_neurons)) < rng.random((shape.num_layers, 1))
    neurons_LN[rng.random(shape.num_layers) < 0.3] = False
    return SubNetwork(shape=shape, heads_LH=heads_LH, neurons_LN=neurons_LN)


@pytest.mark.parametrize("name", TINY_MODELS)
def test_parameters_are_those_of_the_extracted_model(name: str) -> None:
    supernet = Supernet(tiny_model(name))
    costs = parameter_costs(supernet)
    for seed in range(6):
        sub_network = random_sub_network(supernet.shape, seed)
        extracted = supernet.extract(sub_network)
        assert costs.of(sub_network) == sum(one.numel() for one in unique_parameters(extracted)), sub_network
    assert costs.total(supernet.shape) == sum(one.numel() for one in unique_parameters(supernet.model))


@pytest.mark.parametrize("name", TINY_MODELS)
def test_flops_are_those_of_a_forward_pass(name: str) -> None:
    supernet = Supernet(tiny_model(name))
    costs = flops_costs(supernet, context_tokens=16)
    for seed in range(4):
        sub_network = random_sub_network(supernet.shape, seed)
        with supernet.activate(sub_network) as model:
            assert costs.of(sub_network) == count_flops(model, num_tokens=16), sub_network


@pytest.mark.parametrize("name", TINY_MODELS)
def test_heads_that_lack_dimensions_cost_what_is_left(name: str) -> None:
    supernet = Supernet(tiny_model(name))
    parameters, flops = parameter_costs(supernet), flops_costs(supernet, context_tokens=16)
    for cut in cut_candidates(supernet.shape):
        extracted = supernet.extract(cut)
        assert parameters.of(cut) == sum(one.numel() for one in unique_parameters(extracted)), cut
        assert flops.of(cut) == count_flops(extracted, num_tokens=16), cut


def test_sums_over_what_is_kept() -> None:
    costs = UnitCosts(name="flops", fixed=1000, layer=500, attention=100, mlp=50, head=7, kv_group=11, neuron=3)
    kept = SubNetwork(
        shape=SHAPE,
        heads_LH=np.array([[1, 1, 0, 0], [1, 0, 0, 1]], dtype=bool),
        neurons_LN=np.array([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]], dtype=bool),
    )
    assert costs.of(kept) == 1000 + 2 * 500 + (100 + 2 * 7 + 11) + (50 + 3 * 3) + (100 + 2 * 7 + 2 * 11)
    assert costs.outside_units(SHAPE) == 1000 + 2 * 650
    assert costs.whole_group(SHAPE) == 11 + 2 * 7
    assert costs.budget_for(SHAPE, share=0.5) == 1000 + (costs.total(SHAPE) - 1000) / 2


@pytest.mark.parametrize("name", ["llama", "gpt2", "phi3", "bert"])
def test_matrices_at_ranks_cost_what_their_factors_do(name: str) -> None:
    supernet, rng = Supernet(tiny_model(name)), np.random.default_rng(3)
    parameters, flops = parameter_costs(supernet), flops_costs(supernet, context_tokens=16)
    shape = supernet.shape
    for _ in range(3):
        full_M = [matrix.full_rank for matrix in shape.matrices]
        ranks_LM = rng.integers(0, np.array(full_M) + 1, size=(shape.num_layers, len(full_M)))
        factorised = replace(SubNetwork.full(shape), ranks_LM=ranks_LM)
        extracted = supernet.extract(factorised)
        assert parameters.of(factorised) == sum(one.numel() for one in unique_parameters(extracted))
        assert flops.of(factorised) == count_flops(extracted, num_tokens=16)


@pytest.mark.parametrize("name", TINY_MODELS)
@pytest.mark.parametrize("bands", [[(96, 5)], [(96, 31)], [(6, 0), (20, 3), (70, 9)]])
def test_an_embedding_in_bands_costs_what_its_factors_do(name: str, bands: list[tuple[int, int]]) -> None:
    """Whether the head shares its table (llama) or does not (qwen2), or there is none (bert)."""
    supernet = Supernet(tiny_model(name))
    parameters, flops = parameter_costs(supernet), flops_costs(supernet, context_tokens=16)
    kept = tuple(Band(num_tokens=num_tokens, rank=rank) for num_tokens, rank in bands)
    for base in (SubNetwork.full(supernet.shape), cut_candidates(supernet.shape)[-1]):
        banded = replace(base, bands=kept)
        extracted = supernet.extract(banded)
        assert parameters.of(banded) == sum(one.numel() for one in unique_parameters(extracted))
        assert flops.of(banded) == count_flops(extracted, num_tokens=16)
        with supernet.activate(banded) as active:
            assert parameters.of(banded) == sum(one.numel() for one in unique_parameters(active))
    assert parameters.saved_by_bands(SubNetwork.full(supernet.shape)) == 0
