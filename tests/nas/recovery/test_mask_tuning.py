"""Factors of units, against least squares on a matrix built column by column."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from nas.recovery.mask_tuning import LARGEST_FACTOR, normal_equations, tuned_weights
from tests.nas.recovery.problems import Data, random_data

SHAPES = [{"unit_width": 1, "num_units": 9}, {"unit_width": 4, "num_units": 3}]


def columns_of(data: Data) -> np.ndarray:
    """``(T * D, U)``: what each unit adds to the residual stream."""
    width, weight_DS = data.problem.unit_width, data.problem.weight_DS
    columns = []
    for start in range(0, weight_DS.shape[1], width):
        unit = slice(start, start + width)
        columns.append((data.features_TS[:, unit] @ weight_DS[:, unit].T).flatten().numpy())
    return np.stack(columns, axis=1)


def factors_of(data: Data, weight_DS: torch.Tensor) -> np.ndarray:
    """``(U,)``: by what each unit's columns were multiplied, checked to be one number a unit."""
    ratio_DU = (weight_DS / data.problem.weight_DS).view(len(weight_DS), -1, data.problem.unit_width)
    factors = ratio_DU[0, :, 0]
    torch.testing.assert_close(ratio_DU, factors[None, :, None].expand_as(ratio_DU))
    return factors.numpy()


@pytest.mark.parametrize("shape", SHAPES)
def test_normal_equations_are_those_of_the_columns(shape: dict[str, int]) -> None:
    data = random_data(**shape)
    matrix_UU, right_U = normal_equations(data.problem)
    columns = columns_of(data)
    np.testing.assert_allclose(matrix_UU.numpy(), columns.T @ columns, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(right_U.numpy(), columns.T @ data.target_TD.flatten().numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_factors_are_the_least_squares_solution(shape: dict[str, int]) -> None:
    data = random_data(**shape)
    expected = np.linalg.lstsq(columns_of(data), data.target_TD.flatten().numpy())[0]
    np.testing.assert_allclose(factors_of(data, tuned_weights(data.problem, damping=1e-12)), expected, rtol=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
def test_damping_is_a_ridge_towards_one(shape: dict[str, int]) -> None:
    """The same as least squares with a row √λ (x_i - 1) = 0 for every unit."""
    data, damping = random_data(**shape), 0.3
    columns = columns_of(data)
    num_units = columns.shape[1]
    root = math.sqrt(damping * np.mean((columns**2).sum(axis=0)))
    rows = np.concatenate([columns, root * np.eye(num_units)])
    right = np.concatenate([data.target_TD.flatten().numpy(), np.full(num_units, root)])
    expected = np.linalg.lstsq(rows, right)[0]
    np.testing.assert_allclose(factors_of(data, tuned_weights(data.problem, damping=damping)), expected, rtol=1e-7)


def test_a_perfect_sublayer_is_left_alone() -> None:
    problem = random_data().problem
    perfect = dataclasses.replace(problem, cross_DS=problem.weight_DS @ problem.gram_SS)
    torch.testing.assert_close(tuned_weights(perfect, damping=1e-3), problem.weight_DS, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("damping", [1e-6, 1e-2, 10.0])
def test_the_residual_never_grows(damping: float) -> None:
    for seed in range(5):
        data = random_data(unit_width=2, seed=seed)
        assert data.error(tuned_weights(data.problem, damping=damping)) <= data.error(data.problem.weight_DS)


def test_a_silent_unit_keeps_its_factor() -> None:
    """One whose columns are zero, and one whose features are."""
    data = random_data()
    features_TS, weight_DS = data.features_TS.clone(), data.problem.weight_DS.clone()
    features_TS[:, 1] = 0
    weight_DS[:, 2] = 0
    problem = dataclasses.replace(
        data.problem,
        gram_SS=features_TS.T @ features_TS,
        cross_DS=data.target_TD.T @ features_TS,
        weight_DS=weight_DS,
    )
    tuned_DS = tuned_weights(problem, damping=1e-6)
    assert torch.equal(tuned_DS[:, 1], weight_DS[:, 1])
    assert not tuned_DS[:, 2].any()
    assert not torch.equal(tuned_DS[:, 0], weight_DS[:, 0])


@pytest.mark.parametrize("factor", [1.5 * LARGEST_FACTOR, -1.5 * LARGEST_FACTOR, math.inf, math.nan])
def test_factors_out_of_range_leave_the_sublayer_as_it_is(factor: float) -> None:
    problem = random_data().problem
    strange = dataclasses.replace(problem, cross_DS=factor * problem.weight_DS @ problem.gram_SS)
    assert torch.equal(tuned_weights(strange, damping=1e-9), problem.weight_DS)
