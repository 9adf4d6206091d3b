import numpy as np
from hypothesis import given

from nas.pruners.base import UnitCosts
from nas.pruners.best_sublayers import keep_best_sublayers
from nas.supernet.importance import UnitScores
from search_spaces.shape import SupernetShape
from tests.nas.pruners.problems import SHARES, Problem, fits, keeps_all_of, problems

SHAPE = SupernetShape(num_layers=3, num_heads=4, num_kv_groups=2, num_neurons=10, head_dim=4, hidden_size=16)
COSTS = UnitCosts(head=10, kv_group=30, neuron=10)  # 100 for each sublayer, 600 in all
SCORES = UnitScores(
    heads_LH=np.zeros((3, 4)),
    neurons_LN=np.zeros((3, 10)),
    attention_L=np.array([0.1, 0.2, 0.6]),
    mlp_L=np.array([0.5, 0.3, 0.4]),
)


@given(problems(), SHARES)
def test_within_the_budget_or_the_least_with_whole_sublayers(problem: Problem, share: float) -> None:
    scores, shape, costs = problem
    pruned = keep_best_sublayers(scores, shape, costs, share=share)
    kept_attention = {layer for layer, num_heads in enumerate(pruned.num_heads) if num_heads}
    is_least = kept_attention == set(shape.required_attention) and not any(pruned.num_neurons)
    assert fits(pruned, costs, share) or is_least
    assert set(pruned.num_heads) <= {0, shape.num_heads}
    assert set(pruned.num_neurons) <= {0, shape.num_neurons}
    assert kept_attention >= set(shape.required_attention)


@given(problems(), SHARES)
def test_what_goes_is_less_important_than_what_stays(problem: Problem, share: float) -> None:
    scores, shape, costs = problem
    pruned = keep_best_sublayers(scores, shape, costs, share=share)
    sublayers = [
        (influence, bool(num_units))
        for influence, num_units, droppable in [
            *(
                (scores.attention_L[i], pruned.num_heads[i], i not in shape.required_attention)
                for i in range(shape.num_layers)
            ),
            *((scores.mlp_L[i], pruned.num_neurons[i], True) for i in range(shape.num_layers)),
        ]
        if droppable
    ]
    dropped = [influence for influence, kept in sublayers if not kept]
    assert all(influence >= max(dropped, default=0.0) for influence, kept in sublayers if kept)


@given(problems(), SHARES, SHARES)
def test_more_budget_keeps_the_same_and_more(problem: Problem, one: float, other: float) -> None:
    small, large = (keep_best_sublayers(*problem, share=share) for share in sorted((one, other)))
    assert keeps_all_of(large, small)


def test_no_more_goes_than_must() -> None:
    """0.7 of 600 leaves four sublayers of six: the least important go but for the required attention of layer 0."""
    pruned = keep_best_sublayers(SCORES, SHAPE, COSTS, share=0.7)
    assert pruned.num_heads == (4, 0, 4)
    assert pruned.num_neurons == (10, 0, 10)
    assert keep_best_sublayers(SCORES, SHAPE, COSTS, share=4 / 6) == pruned


def test_whole_budget_keeps_everything() -> None:
    assert keep_best_sublayers(SCORES, SHAPE, COSTS, share=1.0).is_full
