from hypothesis import given

from nas.pruners.base import UnitCosts
from nas.pruners.best_units import keep_best_units
from nas.supernet.importance import UnitScores
from search_spaces.shape import SupernetShape
from search_spaces.sub_network import BoolMask
from tests.nas.pruners.problems import SHARES, Problem, fits, keeps_all_of, problems

Units = set[tuple[int, int]]
"""Pairs of a layer and the unit's number in it."""


def by_hand(scores: UnitScores, shape: SupernetShape, costs: UnitCosts, share: float) -> tuple[Units, Units]:
    """The same greedy choice as a plain loop: kept groups and kept neurons."""
    group_cost = costs.kv_group + shape.heads_per_group * costs.head
    per_group = shape.heads_per_group
    group_scores = {
        (layer, group): scores.heads_LH[layer, group * per_group : (group + 1) * per_group].sum()
        for layer in range(shape.num_layers)
        for group in range(shape.num_kv_groups)
    }
    groups = {
        max(((layer, group) for group in range(shape.num_kv_groups)), key=lambda unit: (group_scores[unit], -unit[1]))
        for layer in shape.required_attention
    }
    neurons: Units = set()
    spent = len(groups) * group_cost
    waiting = [(-score / group_cost, 0, unit) for unit, score in group_scores.items() if unit not in groups]
    for layer in range(shape.num_layers):
        waiting += [(-score / costs.neuron, 1, (layer, i)) for i, score in enumerate(scores.neurons_LN[layer])]
    for _, is_neuron, unit in sorted(waiting):
        spent += costs.neuron if is_neuron else group_cost
        if spent > share * costs.layers_total(shape):
            break
        (neurons if is_neuron else groups).add(unit)
    return groups, neurons


def kept_units(mask: BoolMask) -> Units:
    return {(layer, unit) for layer, row in enumerate(mask) for unit, kept in enumerate(row) if kept}


@given(problems(), SHARES)
def test_greedy_choice_by_score_per_parameter(problem: Problem, share: float) -> None:
    scores, shape, costs = problem
    pruned = keep_best_units(scores, shape, costs, share=share)
    kept = kept_units(pruned.kv_groups_LK), kept_units(pruned.neurons_LN)
    assert kept == by_hand(scores, shape, costs, share)


@given(problems(), SHARES)
def test_within_the_budget_or_the_least_with_whole_groups(problem: Problem, share: float) -> None:
    scores, shape, costs = problem
    pruned = keep_best_units(scores, shape, costs, share=share)
    is_least = sum(pruned.num_kv_groups) == len(shape.required_attention) and not pruned.neurons_LN.any()
    assert fits(pruned, costs, share) or is_least
    assert all(pruned.num_kv_groups[layer] for layer in shape.required_attention)
    assert sum(pruned.num_heads) == sum(pruned.num_kv_groups) * shape.heads_per_group


@given(problems(), SHARES, SHARES)
def test_more_budget_keeps_the_same_and_more(problem: Problem, one: float, other: float) -> None:
    small, large = (keep_best_units(*problem, share=share) for share in sorted((one, other)))
    assert keeps_all_of(large, small)


@given(problems())
def test_whole_budget_keeps_everything(problem: Problem) -> None:
    assert keep_best_units(*problem, share=1.0).is_full
