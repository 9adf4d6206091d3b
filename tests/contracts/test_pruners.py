"""Every pruner, on a decoder with KV groups and on an encoder: within any budget exactly, or a sentence why not."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.pruners import (
    PRUNERS,
    BudgetTooSmallError,
    Evidence,
    UnitCosts,
    flops_costs,
    parameter_costs,
)
from nas.supernet.supernet import Supernet
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.tiny_models import batches_of, tiny_model, token_ids

FAMILIES = ("llama", "bert", "gpt_neox")
COSTS: dict[str, Callable[[Supernet], UnitCosts]] = {
    "flops": lambda supernet: flops_costs(supernet, context_tokens=16),
    "parameters": parameter_costs,
}


@cache
def evidence_of(family: str) -> Evidence:
    batches = batches_of(token_ids(4), token_ids(4, seed=2), token_ids(2, seed=3))
    return Evidence(Supernet(tiny_model(family)), batches)


@cache
def costs_of(family: str, name: str) -> UnitCosts:
    return COSTS[name](evidence_of(family).supernet)


@pytest.mark.parametrize("pruner", PRUNERS)
@given(family=st.sampled_from(FAMILIES), cost=st.sampled_from(sorted(COSTS)), share=st.floats(0.01, 1.2))
def test_never_above_the_budget(pruner: str, family: str, cost: str, share: float) -> None:
    evidence, costs = evidence_of(family), costs_of(family, cost)
    budget = share * costs.total(evidence.shape)
    try:
        sub_network = PRUNERS[pruner](evidence, costs, budget)
    except BudgetTooSmallError:
        assert share < 1
    else:
        assert costs.of(sub_network) <= budget


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_budget_is_used(pruner: str, family: str) -> None:
    """What is left is less than the coarsest unit of the method, a sublayer; and all of it where all is allowed."""
    evidence, costs = evidence_of(family), costs_of(family, "flops")
    shape = evidence.shape
    total = costs.total(shape)
    assert PRUNERS[pruner](evidence, costs, float(total)).is_full
    sublayer = max(shape.num_kv_groups * costs.whole_group(shape), shape.num_neurons * costs.neuron)
    assert costs.of(PRUNERS[pruner](evidence, costs, 0.8 * total)) > 0.8 * total - sublayer


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan")])
def test_a_budget_of_nothing_is_refused(pruner: str, budget: float) -> None:
    with pytest.raises(ValueError, match="must"):
        PRUNERS[pruner](evidence_of("llama"), costs_of("llama", "flops"), budget)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_the_same_evidence_gives_the_same_mask_whenever_asked(pruner: str) -> None:
    costs = costs_of("llama", "flops")
    budget = 0.8 * costs.total(evidence_of("llama").shape)
    first: SubNetwork = PRUNERS[pruner](evidence_of("llama"), costs, budget)
    PRUNERS[pruner](evidence_of("llama"), costs, 0.9 * costs.total(evidence_of("llama").shape))
    assert PRUNERS[pruner](evidence_of("llama"), costs, budget) == first


@pytest.mark.parametrize("pruner", PRUNERS)
def test_the_model_is_left_as_it_was(pruner: str) -> None:
    supernet = Supernet(tiny_model("llama"))
    before = {name: parameter.clone() for name, parameter in supernet.model.named_parameters()}
    costs = parameter_costs(supernet)
    sub_network = PRUNERS[pruner](Evidence(supernet, batches_of(token_ids())), costs, 0.7 * costs.total(supernet.shape))
    for name, parameter in supernet.model.named_parameters():
        np.testing.assert_array_equal(parameter.numpy(), before[name].numpy())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in supernet.model.modules())
    assert not sub_network.is_full
