"""The exact knapsack itself is tested with ``mask_search``; here, that costs and groups are handed on rightly."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given

from nas.pruners.best_units import keep_best_units
from nas.pruners.costs import UnitCosts
from nas.pruners.errors import BudgetTooSmallError
from nas.supernet.importance import UnitScores
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import SubNetwork
from tests.nas.pruners.problems import SHARES, Problem, is_within, problems, pruned, scores_of


def worth(scores: UnitScores, sub_network: SubNetwork) -> float:
    groups_LK = scores.kv_groups_LK(sub_network.shape)
    return float(groups_LK[sub_network.kv_groups_LK].sum() + scores.neurons_LN[sub_network.neurons_LN].sum())


@given(problems(), SHARES)
def test_within_the_budget_with_whole_groups(problem: Problem, share: float) -> None:
    _, shape, costs = problem
    found = pruned(keep_best_units, problem, share)
    if found is None:
        least = costs.outside_units(shape) + len(shape.required_attention) * costs.whole_group(shape)
        assert least > share * costs.total(shape)
    else:
        assert is_within(found, costs, share)
        assert sum(found.num_heads) == sum(found.num_kv_groups) * shape.heads_per_group


@given(problems())
def test_whole_budget_keeps_everything(problem: Problem) -> None:
    found = pruned(keep_best_units, problem, 1.0)
    assert found is not None
    assert found.is_full


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("budget", [60.0, 75.0, 90.0])
def test_no_other_choice_of_units_is_worth_more(seed: int, budget: float) -> None:
    """All of the 2⁸ masks of two layers with two groups and two neurons each."""
    shape = SupernetShape(num_layers=2, num_heads=4, num_kv_groups=2, num_neurons=2, head_dim=2, hidden_size=4)
    costs = UnitCosts(name="parameters", fixed=10, attention=1, mlp=2, head=6, kv_group=3, neuron=7)
    scores = scores_of(shape, seed)
    found = keep_best_units(scores, shape, costs, budget)
    best = 0.0
    for bits in product([False, True], repeat=8):
        groups_LK, neurons_LN = np.array(bits[:4]).reshape(2, 2), np.array(bits[4:]).reshape(2, 2)
        spent = (
            costs.outside_units(shape) + groups_LK.sum() * costs.whole_group(shape) + neurons_LN.sum() * costs.neuron
        )
        best_of_first = scores.kv_groups_LK(shape)[0].argmax()  # the group of a required attention that must stay
        if groups_LK[0, best_of_first] and spent <= budget:
            sub_network = SubNetwork(shape=shape, heads_LH=np.repeat(groups_LK, 2, axis=1), neurons_LN=neurons_LN)
            best = max(best, worth(scores, sub_network))
    assert worth(scores, found) == best


def test_less_than_the_required_groups() -> None:
    shape = SupernetShape(num_layers=2, num_heads=4, num_kv_groups=2, num_neurons=2, head_dim=2, hidden_size=4)
    costs = UnitCosts(name="parameters", fixed=10, head=6, kv_group=3, neuron=7)
    with pytest.raises(BudgetTooSmallError, match="25"):
        keep_best_units(scores_of(shape, 0), shape, costs, 24)
