import numpy as np
from hypothesis import given

from nas.pruners.base import UnitCosts
from nas.pruners.uniform import prune_uniformly
from nas.supernet.importance import rank
from search_spaces.shape import SupernetShape
from tests.nas.pruners.problems import SHARES, Problem, fits, problems, scores_of

SHAPE = SupernetShape(num_layers=3, num_heads=8, num_kv_groups=4, num_neurons=40, head_dim=4, hidden_size=32)
COSTS = UnitCosts(head=10, kv_group=20, neuron=3)  # 160 for the attention of a layer, 120 for its MLP


@given(problems(), SHARES)
def test_same_widths_everywhere_within_the_budget_or_the_least(problem: Problem, share: float) -> None:
    scores, shape, costs = problem
    pruned = prune_uniformly(scores, shape, costs, share=share)
    assert pruned.is_uniform
    assert pruned.kept_layers == tuple(range(shape.num_layers))
    is_least = pruned.num_kv_groups[0] == 1 and pruned.num_neurons[0] == 1
    assert fits(pruned, costs, share) or is_least


@given(problems(), SHARES, SHARES)
def test_more_budget_keeps_more(problem: Problem, one: float, other: float) -> None:
    """More groups; where one takes the place of neurons, the total may fall by less than a neuron a layer."""
    scores, shape, costs = problem
    small, large = (prune_uniformly(scores, shape, costs, share=share) for share in sorted((one, other)))
    assert large.num_kv_groups[0] >= small.num_kv_groups[0]
    assert costs.of(large) > costs.of(small) - shape.num_layers * costs.neuron


@given(problems())
def test_whole_budget_keeps_everything(problem: Problem) -> None:
    scores, shape, costs = problem
    assert prune_uniformly(scores, shape, costs, share=1.0).is_full


def test_groups_are_rounded_and_neurons_take_the_rest() -> None:
    pruned = prune_uniformly(scores_of(SHAPE, 0), SHAPE, COSTS, share=0.6)
    assert pruned.num_kv_groups == (2, 2, 2)  # 2.4
    assert pruned.num_neurons == (29, 29, 29)  # 0.6 · 280 − 2 · 40 = 88 = 29.3 neurons


def test_best_units_are_kept() -> None:
    scores = scores_of(SHAPE, 1)
    pruned, ranking = prune_uniformly(scores, SHAPE, COSTS, share=0.5), rank(scores, SHAPE)
    for layer in range(SHAPE.num_layers):
        assert set(np.flatnonzero(pruned.kv_groups_LK[layer])) == set(ranking.kv_groups_LK[layer, :2])
        kept = scores.neurons_LN[layer, pruned.neurons_LN[layer]]
        assert kept.min() >= scores.neurons_LN[layer, ~pruned.neurons_LN[layer]].max()


def test_attention_gives_way_where_it_alone_would_exceed_the_budget() -> None:
    """Rounding 1.6 groups up to 2 would cost 80 of the 73.6 there are."""
    costs = UnitCosts(head=10, kv_group=20, neuron=1)
    shape = SupernetShape(num_layers=1, num_heads=8, num_kv_groups=4, num_neurons=24, head_dim=4, hidden_size=32)
    pruned = prune_uniformly(scores_of(shape, 0), shape, costs, share=0.4)
    assert (pruned.num_kv_groups, pruned.num_neurons) == ((1,), (24,))
    assert fits(pruned, costs, 0.4)
