"""The allocation of ranks against all allocations there are, and the pruner on models."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas.pruners import BudgetTooSmallError, Evidence, PrunerInputError, UnitCosts, flops_costs, parameter_costs
from nas.pruners.fisher_ranks import allocate, prune_ranks_by_fisher
from nas.supernet.importance import ImportanceError
from nas.supernet.supernet import Supernet
from search_spaces.low_rank import uniform_ranks
from search_spaces.shape import Matrix
from search_spaces.sub_network import SubNetwork
from tests.nas.supernet.tiny_models import batches_of, tiny_model, token_ids


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[np.ndarray], list[Matrix]]:
    sizes = draw(st.lists(st.tuples(st.integers(2, 7), st.integers(2, 7)), min_size=1, max_size=3))
    matrices = [Matrix(name=str(i), sublayer="mlp", num_outputs=o, num_inputs=n) for i, (o, n) in enumerate(sizes)]
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    return [rng.exponential(size=matrix.full_rank) * rng.exponential() for matrix in matrices], matrices


def weights_at(rank: int, matrix: Matrix) -> int:
    dense = matrix.num_outputs * matrix.num_inputs
    return dense if rank == 0 else rank * (matrix.num_outputs + matrix.num_inputs)


def energy_at(rank: int, energies_R: np.ndarray) -> float:
    return float(energies_R.sum() if rank == 0 else energies_R[:rank].sum())


def corners_of(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Of the concave curve above all points, from the lightest on."""
    here = max(points, key=lambda point: (-point[0], point[1]))
    corners = [here]
    while ahead := [point for point in points if point[0] > here[0] and point[1] > here[1]]:
        here = max(ahead, key=lambda point: ((point[1] - here[1]) / (point[0] - here[0]), point[0]))
        corners.append(here)
    return corners


@given(problem=problems(), share=st.floats(0, 1.1))
def test_within_the_budget_and_at_least_the_best_of_all_allocations_that_a_price_can_reach(
    problem: tuple[list[np.ndarray], list[Matrix]], share: float
) -> None:
    energies, matrices = problem
    least = sum(weights_at(1, matrix) for matrix in matrices)
    available = least + share * max(0, sum(weights_at(0, matrix) for matrix in matrices) - least)
    ranks = allocate(energies, matrices, available)
    assert sum(map(weights_at, ranks, matrices)) <= available
    below = [
        [0, *(rank for rank in range(1, one.full_rank) if weights_at(rank, one) < weights_at(0, one))]
        for one in matrices
    ]
    every = [(sum(map(weights_at, one, matrices)), sum(map(energy_at, one, energies))) for one in product(*below)]
    reached = [energy for weights, energy in corners_of(every) if weights <= available]
    assert sum(map(energy_at, ranks, energies)) >= max(reached) - 1e-9


def test_a_matrix_whose_directions_are_all_alike_stays_whole_and_one_with_few_that_matter_keeps_those() -> None:
    matrices = [Matrix(name=name, sublayer="mlp", num_outputs=10, num_inputs=10) for name in "ab"]
    flat, steep = np.full(10, 0.1), 10.0 ** -np.arange(10)
    assert allocate([flat, steep], matrices, 100 + 20) == [0, 1]
    assert allocate([flat, steep], matrices, 20 + 3 * 20) == [2, 2]  # 0.1 a direction, and 1, 0.1 of the steep one


def evidence_of(name: str) -> Evidence:
    supernet = Supernet(tiny_model(name))
    batches = batches_of(token_ids(4), token_ids(4, seed=2))
    supernet.order_directions_by(batches)
    return Evidence(supernet, batches)


COSTS = {"parameters": parameter_costs, "flops": lambda supernet: flops_costs(supernet, context_tokens=16)}


@pytest.mark.parametrize("name", ["llama", "gpt2", "phi3", "bert"])
@pytest.mark.parametrize("cost", COSTS)
def test_it_keeps_within_any_budget_and_uses_it(name: str, cost: str) -> None:
    evidence = evidence_of(name)
    costs = COSTS[cost](evidence.supernet)
    total, dearest = (
        costs.total(evidence.shape),
        max(one.num_outputs + one.num_inputs for one in evidence.shape.matrices),
    )
    assert prune_ranks_by_fisher(evidence, costs, total).is_full
    for share in (0.9, 0.75, 0.6):
        budget = costs.budget_for(evidence.shape, share=share)
        found = prune_ranks_by_fisher(evidence, costs, budget)
        assert found.num_heads == SubNetwork.full(evidence.shape).num_heads
        # A matrix that fits the rest neither whole nor by one direction more leaves at most its own step.
        assert budget - dearest * costs.weight * 8 < costs.of(found) <= budget


def test_it_loses_less_than_the_same_rank_everywhere() -> None:
    """By what the loss says of the model itself, on the very examples."""
    evidence = evidence_of("llama")
    supernet, costs = evidence.supernet, parameter_costs(evidence.supernet)
    uniform = uniform_ranks(evidence.shape, 0.5)
    found = prune_ranks_by_fisher(evidence, costs, costs.of(uniform))

    def kept(sub_network: SubNetwork) -> float:
        assert sub_network.ranks_LM is not None
        ranks = sub_network.ranks_LM.ravel().tolist()
        return sum(energy_at(rank, one) for rank, one in zip(ranks, evidence.direction_energies, strict=True))

    assert costs.of(found) <= costs.of(uniform)
    assert kept(found) > kept(uniform)
    assert supernet.extract(found) is not None


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan")])
def test_budgets_that_cannot_be(budget: float) -> None:
    evidence = evidence_of("llama")
    with pytest.raises(BudgetTooSmallError, match=r"rank 1 everywhere needs .* raise the budget"):
        prune_ranks_by_fisher(evidence, parameter_costs(evidence.supernet), budget)


def test_what_it_cannot_spend() -> None:
    evidence = evidence_of("llama")
    seconds = UnitCosts(name="s", head=1, kv_group=1, neuron=1)
    with pytest.raises(PrunerInputError, match="fisher_ranks spends parameters or flops, got a budget on s; give"):
        prune_ranks_by_fisher(evidence, seconds, 1.0)


def test_a_model_without_a_head_is_told_of() -> None:
    supernet = Supernet(tiny_model("llama").base_model)
    evidence = Evidence(supernet, batches_of(token_ids()))
    costs = parameter_costs(supernet)
    with pytest.raises(ImportanceError, match="Gradients need a model with a task head"):
        prune_ranks_by_fisher(evidence, costs, 0.8 * costs.total(supernet.shape))


def test_energies_are_gathered_once() -> None:
    evidence = evidence_of("llama")
    assert evidence.direction_energies is evidence.direction_energies
    assert all(np.isfinite(one).all() and (one >= 0).all() for one in evidence.direction_energies)
    assert torch.is_grad_enabled()
