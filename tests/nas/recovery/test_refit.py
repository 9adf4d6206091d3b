"""Refitted weights, against general least squares."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from nas.recovery.mask_tuning import tuned_weights
from nas.recovery.refit import refitted_weights
from tests.nas.recovery.problems import random_data


def test_weights_are_the_least_squares_solution() -> None:
    data = random_data(unit_width=2)
    expected = np.linalg.lstsq(data.features_TS.numpy(), data.target_TD.numpy())[0].T
    np.testing.assert_allclose(refitted_weights(data.problem, damping=1e-12).numpy(), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("num_tokens", [40, 3])
def test_damping_is_a_ridge_towards_the_present_weights(num_tokens: int) -> None:
    """Also where G is singular: the same as least squares with a row √λ (w - w_present) = 0 for every weight."""
    data, damping = random_data(num_tokens=num_tokens), 0.05
    weight_DS = data.problem.weight_DS.numpy()
    num_features = weight_DS.shape[1]
    root = math.sqrt(damping * np.mean((data.features_TS.numpy() ** 2).sum(axis=0)))
    rows = np.concatenate([data.features_TS.numpy(), root * np.eye(num_features)])
    right = np.concatenate([data.target_TD.numpy(), root * weight_DS.T])
    expected = np.linalg.lstsq(rows, right)[0].T
    np.testing.assert_allclose(refitted_weights(data.problem, damping=damping).numpy(), expected, rtol=1e-7, atol=1e-9)


def test_directions_that_no_token_shows_stay_as_they_are() -> None:
    data = random_data(num_tokens=3)
    change_DS = refitted_weights(data.problem, damping=1e-3) - data.problem.weight_DS
    unseen_S = torch.linalg.svd(data.features_TS, full_matrices=True)[2][-1]
    assert change_DS.norm() > 0.1
    torch.testing.assert_close(
        change_DS @ unseen_S, torch.zeros(len(change_DS), dtype=torch.float64), atol=1e-9, rtol=0
    )


def test_a_perfect_sublayer_is_left_alone() -> None:
    problem = random_data().problem
    perfect = dataclasses.replace(problem, cross_DS=problem.weight_DS @ problem.gram_SS)
    torch.testing.assert_close(refitted_weights(perfect, damping=1e-2), problem.weight_DS, rtol=1e-10, atol=1e-10)


def test_refit_is_no_worse_than_factors_of_units() -> None:
    """Factors are weights of a special form."""
    for seed in range(5):
        data = random_data(unit_width=2, seed=seed)
        refitted, tuned = (solve(data.problem, damping=1e-9) for solve in (refitted_weights, tuned_weights))
        assert data.error(refitted) < data.error(tuned) < data.error(data.problem.weight_DS)


def test_numbers_that_are_not_finite_leave_the_sublayer_as_it_is() -> None:
    problem = random_data().problem
    broken = dataclasses.replace(problem, gram_SS=torch.full_like(problem.gram_SS, math.nan))
    assert torch.equal(refitted_weights(broken, damping=1e-2), problem.weight_DS)
