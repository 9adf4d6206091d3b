import numpy as np
import pytest
from hypothesis import assume, given

from nas.pruners.best_sublayers import keep_best_sublayers
from nas.pruners.costs import UnitCosts
from nas.pruners.errors import BudgetTooSmallError
from nas.supernet.importance import UnitScores
from search_spaces.shape import SupernetShape
from tests.nas.pruners.problems import SHARES, Problem, is_within, keeps_all_of, problems, pruned

SHAPE = SupernetShape(num_layers=3, num_heads=4, num_kv_groups=2, num_neurons=10, head_dim=4, hidden_size=16)
COSTS = UnitCosts(name="flops", head=10, kv_group=30, neuron=10)  # 100 for each sublayer, 600 in all
SCORES = UnitScores(
    heads_LH=np.zeros((3, 4)),
    neurons_LN=np.zeros((3, 10)),
    attention_L=np.array([0.1, 0.2, 0.6]),
    mlp_L=np.array([0.5, 0.3, 0.4]),
)


@given(problems(), SHARES)
def test_within_the_budget_with_whole_sublayers(problem: Problem, share: float) -> None:
    _, shape, costs = problem
    found = pruned(keep_best_sublayers, problem, share)
    if found is None:
        required = len(shape.required_attention)
        attention = costs.attention + shape.num_kv_groups * costs.whole_group(shape)
        assert costs.fixed + required * (costs.layer + attention) > share * costs.total(shape)
        return
    assert is_within(found, costs, share)
    assert set(found.num_heads) <= {0, shape.num_heads}
    assert set(found.num_neurons) <= {0, shape.num_neurons}


@given(problems(), SHARES)
def test_what_goes_is_less_important_than_what_stays(problem: Problem, share: float) -> None:
    scores, shape, _ = problem
    found = pruned(keep_best_sublayers, problem, share)
    assume(found is not None)
    assert found is not None
    sublayers = [
        (influence, bool(num_units))
        for influence, num_units, droppable in [
            *(
                (scores.attention_L[i], found.num_heads[i], i not in shape.required_attention)
                for i in range(shape.num_layers)
            ),
            *((scores.mlp_L[i], found.num_neurons[i], True) for i in range(shape.num_layers)),
        ]
        if droppable
    ]
    dropped = [influence for influence, kept in sublayers if not kept]
    assert all(influence >= max(dropped, default=0.0) for influence, kept in sublayers if kept)


@given(problems(), SHARES, SHARES)
def test_more_budget_keeps_the_same_and_more(problem: Problem, one: float, other: float) -> None:
    small, large = (pruned(keep_best_sublayers, problem, share) for share in sorted((one, other)))
    assert small is None or (large is not None and keeps_all_of(large, small))


def test_no_more_goes_than_must() -> None:
    """420 of 600 leave four sublayers of six: the least important go but for the required attention of layer 0."""
    found = keep_best_sublayers(SCORES, SHAPE, COSTS, 420)
    assert found.num_heads == (4, 0, 4)
    assert found.num_neurons == (10, 0, 10)
    assert keep_best_sublayers(SCORES, SHAPE, COSTS, 400) == found


def test_whole_budget_keeps_everything() -> None:
    assert keep_best_sublayers(SCORES, SHAPE, COSTS, 600).is_full


def test_less_than_the_required_attention() -> None:
    with pytest.raises(BudgetTooSmallError, match=r"Dropping sublayers needs 100 flops, got 99"):
        keep_best_sublayers(SCORES, SHAPE, COSTS, 99)
