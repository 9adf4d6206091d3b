import numpy as np
import pytest
from hypothesis import given

from nas.pruners.costs import UnitCosts
from nas.pruners.errors import BudgetTooSmallError
from nas.pruners.uniform import prune_uniformly
from nas.supernet.importance import rank
from search_spaces.shape import SupernetShape
from tests.nas.pruners.problems import SHARES, Problem, is_within, problems, pruned, scores_of

SHAPE = SupernetShape(num_layers=3, num_heads=8, num_kv_groups=4, num_neurons=40, head_dim=4, hidden_size=32)
COSTS = UnitCosts(
    name="flops", fixed=100, head=10, kv_group=20, neuron=3
)  # 160 for the attention of a layer, 120 for its MLP


@given(problems(), SHARES)
def test_same_widths_everywhere_within_the_budget(problem: Problem, share: float) -> None:
    found = pruned(prune_uniformly, problem, share)
    if found is None:
        _, shape, costs = problem
        least = costs.outside_units(shape) + shape.num_layers * (costs.whole_group(shape) + costs.neuron)
        assert least > share * costs.total(shape)
    else:
        assert found.is_uniform
        assert found.kept_layers == tuple(range(found.shape.num_layers))
        assert is_within(found, problem[2], share)


@given(problems())
def test_whole_budget_keeps_everything(problem: Problem) -> None:
    found = pruned(prune_uniformly, problem, 1.0)
    assert found is not None
    assert found.is_full


def test_groups_are_rounded_and_neurons_take_the_rest() -> None:
    found = prune_uniformly(scores_of(SHAPE, 0), SHAPE, COSTS, 100 + 0.6 * 840)
    assert found.num_kv_groups == (2, 2, 2)  # 2.4
    assert found.num_neurons == (29, 29, 29)  # 0.6 · 280 − 2 · 40 = 88 = 29.3 neurons


def test_best_units_are_kept() -> None:
    scores = scores_of(SHAPE, 1)
    found, ranking = prune_uniformly(scores, SHAPE, COSTS, 100 + 420), rank(scores, SHAPE)
    for layer in range(SHAPE.num_layers):
        assert set(np.flatnonzero(found.kv_groups_LK[layer])) == set(ranking.kv_groups_LK[layer, :2])
        kept = scores.neurons_LN[layer, found.neurons_LN[layer]]
        assert kept.min() >= scores.neurons_LN[layer, ~found.neurons_LN[layer]].max()


def test_attention_gives_way_where_it_alone_would_exceed_the_budget() -> None:
    """Rounding 1.6 groups up to 2 would cost 80 of the 73.6 there are."""
    costs = UnitCosts(name="flops", head=10, kv_group=20, neuron=1)
    shape = SupernetShape(num_layers=1, num_heads=8, num_kv_groups=4, num_neurons=24, head_dim=4, hidden_size=32)
    found = prune_uniformly(scores_of(shape, 0), shape, costs, 73.6)
    assert (found.num_kv_groups, found.num_neurons) == ((1,), (24,))


def test_less_than_a_group_and_a_neuron_a_layer() -> None:
    with pytest.raises(BudgetTooSmallError, match=r"Uniform pruning needs 229 flops, got 228; raise the budget"):
        prune_uniformly(scores_of(SHAPE, 0), SHAPE, COSTS, 228)
