"""The damped solver under all recoveries."""

import math

import numpy as np
import pytest
import torch

from nas.recovery.base import solve_ridge


@pytest.mark.parametrize("damping", [0.0, 1e-3, 2.0])
def test_solution_is_that_of_a_general_solver(damping: float) -> None:
    rng = np.random.default_rng(0)
    root, right = rng.normal(size=(6, 9)), rng.normal(size=(6, 4))
    matrix = root @ root.T
    expected = np.linalg.solve(matrix + damping * matrix.trace() / 6 * np.eye(6), right)
    actual = solve_ridge(torch.from_numpy(matrix), torch.from_numpy(right), damping=damping)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("matrix", "damping"),
    [
        (torch.zeros(3, 3), 1.0),
        (torch.ones(3, 3), 0.0),
        (-torch.eye(3), 0.1),
        (torch.full((3, 3), math.nan), 0.1),
        (torch.diag(torch.tensor([1.0, math.inf, 1.0])), 0.1),
    ],
    ids=["zero", "singular", "negative", "nan", "infinite"],
)
def test_what_cannot_be_solved_gives_zeros(matrix: torch.Tensor, damping: float) -> None:
    right = torch.ones(3, 2, dtype=torch.float64)
    assert torch.equal(solve_ridge(matrix.double(), right, damping=damping), torch.zeros_like(right))


def test_a_right_side_that_is_not_finite_gives_zeros() -> None:
    right = torch.tensor([[1.0], [math.nan]], dtype=torch.float64)
    assert not solve_ridge(torch.eye(2).double(), right, damping=0.1).any()


def test_damping_solves_a_singular_matrix() -> None:
    """All ones, λ = 1/10: z = r / (3 + 1/10) for a right side of ones."""
    solution = solve_ridge(torch.ones(3, 3).double(), torch.ones(3, 1).double(), damping=0.1)
    torch.testing.assert_close(solution, torch.full((3, 1), 1 / 3.1, dtype=torch.float64))
