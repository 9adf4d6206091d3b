import dataclasses
import math

import numpy as np
import pytest

from nas.supernet.importance import ImportanceError, UnitScores, rank
from search_spaces.shape import SupernetShape

SHAPE = SupernetShape(num_layers=2, num_heads=6, num_kv_groups=3, num_neurons=4, head_dim=4, hidden_size=24)
SCORES = UnitScores(
    heads_LH=np.array([[1.0, 2.0, 9.0, 0.0, 4.0, 4.0], [5.0, 5.0, 7.0, 3.0, 1.0, 9.0]]),
    neurons_LN=np.array([[0.0, 3.0, 1.0, 2.0], [1.0, 1.0, 2.0, 1.0]]),
    attention_L=np.array([1.0, 2.0]),
    mlp_L=np.array([4.0, 3.0]),
)


def test_group_is_worth_the_sum_of_its_heads() -> None:
    np.testing.assert_array_equal(SCORES.kv_groups_LK(SHAPE), [[3, 9, 8], [10, 10, 10]])


def test_ranking_goes_from_best_to_worst_and_ties_keep_their_order() -> None:
    ranking = rank(SCORES, SHAPE)
    np.testing.assert_array_equal(ranking.kv_groups_LK, [[1, 2, 0], [0, 1, 2]])
    np.testing.assert_array_equal(ranking.heads_LKG, [[[1, 0], [2, 3], [4, 5]], [[0, 1], [2, 3], [5, 4]]])
    np.testing.assert_array_equal(ranking.neurons_LN, [[1, 3, 2, 0], [2, 0, 1, 3]])
    np.testing.assert_array_equal(ranking.attention_L, SCORES.attention_L)
    np.testing.assert_array_equal(ranking.mlp_L, SCORES.mlp_L)


def test_ranking_keeps_the_best() -> None:
    kept = rank(SCORES, SHAPE).keep_best(
        SHAPE,
        kv_groups_L=np.array([2, 1]),
        heads_per_group_L=np.array([1, 2]),
        neurons_L=np.array([2, 1]),
    )
    np.testing.assert_array_equal(kept.heads_LH, [[0, 0, 1, 0, 1, 0], [1, 1, 0, 0, 0, 0]])
    np.testing.assert_array_equal(kept.neurons_LN, [[0, 1, 0, 1], [0, 0, 1, 0]])


@pytest.mark.parametrize("name", ["heads_LH", "neurons_LN", "attention_L", "mlp_L"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_score_that_is_no_number(name: str, value: float) -> None:
    spoilt = getattr(SCORES, name).copy()
    spoilt.flat[1] = value
    with pytest.raises(ImportanceError, match=f"must be finite, got NaN or infinity in {name}; load the model"):
        dataclasses.replace(SCORES, **{name: spoilt})
