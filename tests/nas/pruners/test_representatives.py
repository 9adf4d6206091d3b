import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor

from nas.pruners.errors import PrunerInputError
from nas.pruners.representatives import gaussian_kernel, min_max, representative_scores


def columns(num_neurons: int, size: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(num_neurons, size, generator=torch.Generator().manual_seed(seed))


def updates_by_hand(kernel_NN: np.ndarray, num_updates: int) -> np.ndarray:
    """C in float64, all columns at once."""
    coefficients_NN = np.full_like(kernel_NN, 1 / len(kernel_NN))
    for _ in range(num_updates):
        coefficients_NN = coefficients_NN * np.sqrt(kernel_NN / (kernel_NN @ coefficients_NN))
    return coefficients_NN


def objective(kernel_NN: np.ndarray, coefficients_NN: np.ndarray) -> float:
    rest_NN = np.eye(len(kernel_NN)) - coefficients_NN
    return float(np.trace(rest_NN.T @ kernel_NN @ rest_NN))


def unit_kernel(columns_ND: Tensor) -> np.ndarray:
    return gaussian_kernel(columns_ND).double().numpy()


def test_kernel_by_its_formula_with_the_median_distance() -> None:
    columns_ND = columns(9).double().numpy()
    distances_NN = np.linalg.norm(columns_ND[:, None] - columns_ND[None], axis=2)
    pairs = np.sort(distances_NN[np.triu_indices(9, k=1)])
    sigma = pairs[(len(pairs) - 1) // 2]
    np.testing.assert_allclose(unit_kernel(columns(9)), np.exp(-(distances_NN**2) / sigma**2), rtol=1e-4)


def test_scale_and_shift_of_the_weights_make_no_difference() -> None:
    expected = representative_scores(columns(30))
    for other in (1e-3 * columns(30), 1e4 * columns(30), columns(30) + 5.0):
        torch.testing.assert_close(representative_scores(other), expected, rtol=0.02, atol=0.01)


def test_updates_as_in_the_paper() -> None:
    coefficients_NN = updates_by_hand(unit_kernel(columns(25)), 15)
    expected = min_max(torch.from_numpy(coefficients_NN.diagonal().copy()))
    scores_N = representative_scores(columns(25), max_iterations=15, tolerance=0.0)
    torch.testing.assert_close(scores_N.double(), expected, rtol=1e-4, atol=1e-4)


def test_updates_converge_to_what_a_general_solver_finds() -> None:
    kernel_NN = unit_kernel(columns(12))
    root_NN = np.linalg.cholesky(kernel_NN).T  # K = Φᵀ Φ
    # The updates' fixed points satisfy (K C)_ij = K_ij wherever C_ij > 0, as the solution of min ‖Φ − Φ C‖ does: C = I.
    solved_NN = np.stack([nnls(root_NN, root_NN[:, j])[0] for j in range(12)], axis=1)
    assert objective(kernel_NN, solved_NN) < 1e-20
    gaps = [objective(kernel_NN, updates_by_hand(kernel_NN, num)) for num in (1, 10, 100, 1000, 10_000)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-3 * gaps[0]
    # Long before, the order is there: a neuron that is far from all others needs itself most.
    lone = columns(12)
    lone[3] *= 10
    assert int(representative_scores(lone).argmax()) == 3


@pytest.mark.parametrize("block", [1, 7, 40, 1000])
def test_blocks_make_no_difference(block: int) -> None:
    expected = representative_scores(columns(40), block=40)
    torch.testing.assert_close(representative_scores(columns(40), block=block), expected, rtol=1e-4, atol=1e-4)


def test_columns_stop_by_themselves_at_the_tolerance() -> None:
    """Many updates and a loose tolerance, against every column stopped by hand."""
    kernel_NN = unit_kernel(columns(30))
    coefficients_NN, own_N, going_N = np.full_like(kernel_NN, 1 / 30), np.zeros(30), np.ones(30, dtype=bool)
    for _ in range(500):
        updated_NN = coefficients_NN * np.sqrt(kernel_NN / (kernel_NN @ coefficients_NN))
        own_N[going_N] = updated_NN.diagonal()[going_N]
        change_N = np.linalg.norm(updated_NN - coefficients_NN, axis=0) / np.linalg.norm(updated_NN, axis=0)
        going_N &= change_N > 0.02
        coefficients_NN = updated_NN
    expected = min_max(torch.from_numpy(own_N))
    scores_N = representative_scores(columns(30), max_iterations=500, tolerance=0.02)
    torch.testing.assert_close(scores_N.double(), expected, rtol=1e-3, atol=1e-3)


def test_of_many_neurons_a_seeded_sample_gives_the_width() -> None:
    many = columns(700)
    torch.testing.assert_close(gaussian_kernel(many, seed=1), gaussian_kernel(many, seed=1), rtol=0, atol=0)
    exact = torch.pdist(many).median()
    sampled = (torch.cdist(many[:1], many[1:]) / (-gaussian_kernel(many)[0, 1:].log()).sqrt()).median()
    assert float(sampled) == pytest.approx(float(exact), rel=0.05)


def test_equal_columns_share_their_score() -> None:
    twins = columns(20)
    twins[5] = twins[4]
    scores_N = representative_scores(twins)
    assert float(scores_N[4]) == pytest.approx(float(scores_N[5]), abs=1e-3)
    assert float(scores_N[4]) < float(scores_N.median())  # each stands for the other


@pytest.mark.parametrize(
    "alike",
    [torch.zeros(8, 4), torch.full((8, 4), 0.3), torch.randn(1, 4), torch.ones(3, 4) * 1e-30],
    ids=["zero", "equal", "single", "tiny"],
)
def test_neurons_that_are_all_alike_score_one(alike: Tensor) -> None:
    assert representative_scores(alike).tolist() == [1.0] * len(alike)


def test_a_median_distance_of_zero() -> None:
    """Most neurons are dead."""
    mostly_dead = torch.zeros(20, 4)
    mostly_dead[:3] = columns(3, size=4)
    scores_N = representative_scores(mostly_dead)
    assert scores_N.isfinite().all()
    assert scores_N[:3].min() > scores_N[3:].max()


def test_far_outliers_make_no_nan() -> None:
    spread = columns(20)
    spread[0] *= 1e6
    assert representative_scores(spread, max_iterations=1000, tolerance=0.0).isfinite().all()


def test_min_max() -> None:
    assert min_max(torch.tensor([-1.0, 3.0, 1.0])).tolist() == [0.0, 1.0, 0.5]
    assert min_max(torch.full((2, 3), 7.0)).tolist() == [[1.0] * 3] * 2
    assert min_max(torch.tensor([1.0, 1.0 + 2e-7])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("bad", [torch.full((3, 2), float("nan")), torch.empty(0, 4), torch.ones(4)])
def test_refuses_what_are_no_weights(bad: Tensor) -> None:
    with pytest.raises(PrunerInputError, match="must have finite weights in a matrix of one row for each neuron"):
        representative_scores(bad)
