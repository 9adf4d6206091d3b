import itertools

import pytest
import torch
from torch import Tensor

from nas.pruners.elimination import Elimination, eliminate
from nas.pruners.errors import PrunerInputError

SMALL = 1e-12
"""Damping that leaves the errors what they are without."""


def problem(num_features: int, *, num_tokens: int = 60, output_size: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features that depend on each other, and a weight; in float64."""
    rng = torch.Generator().manual_seed(seed)
    mixing = torch.randn(num_features, num_features, generator=rng, dtype=torch.float64)
    features_TF = torch.randn(num_tokens, num_features, generator=rng, dtype=torch.float64) @ mixing
    return features_TF, torch.randn(output_size, num_features, generator=rng, dtype=torch.float64)


def least_squares_error(features_TF: Tensor, weight_DF: Tensor, kept: list[int]) -> float:
    """Of the best weights of the kept features, solved from the features themselves."""
    target_TD = features_TF @ weight_DF.T
    refit = torch.linalg.lstsq(features_TF[:, kept], target_TD, driver="gelsd").solution
    return float((features_TF[:, kept] @ refit - target_TD).square().sum())


def kept_after(elimination: Elimination, num_removed: int, width: int = 1) -> list[int]:
    units = sorted(elimination.order_U[num_removed:].tolist())
    return [unit * width + offset for unit in units for offset in range(width)]


@pytest.mark.parametrize(("width", "step"), [(1, 1), (1, 3), (1, 5), (3, 1), (4, 2), (12, 1)])
def test_errors_are_those_of_least_squares(width: int, step: int) -> None:
    features_TF, weight_DF = problem(12)
    found = eliminate(features_TF.T @ features_TF, weight_DF, width=width, step=step, damping=SMALL)
    assert sorted(found.order_U.tolist()) == list(range(12 // width))
    for num_removed, error in enumerate(found.errors_U.tolist(), start=1):
        exact = least_squares_error(features_TF, weight_DF, kept_after(found, num_removed, width))
        assert error == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("width", [1, 2])
def test_each_removal_is_the_best_single_one(width: int, seed: int) -> None:
    features_TF, weight_DF = problem(8, seed=seed)
    found = eliminate(features_TF.T @ features_TF, weight_DF, width=width, step=1, damping=SMALL)
    num_units = 8 // width
    for num_removed in range(num_units - 1):
        left = found.order_U[num_removed:].tolist()
        errors = {
            unit: least_squares_error(
                features_TF, weight_DF, [i for i in kept_after(found, num_removed, width) if i // width != unit]
            )
            for unit in left
        }
        assert min(errors, key=lambda unit: errors[unit]) == left[0]


def test_greedy_removal_is_close_to_the_best_subset() -> None:
    for seed in range(5):
        features_TF, weight_DF = problem(7, seed=seed)
        found = eliminate(features_TF.T @ features_TF, weight_DF, step=1, damping=SMALL)
        for num_removed in (1, 2, 3):
            best = min(
                least_squares_error(features_TF, weight_DF, list(kept))
                for kept in itertools.combinations(range(7), 7 - num_removed)
            )
            error = float(found.errors_U[num_removed - 1])
            assert error >= best * (1 - 1e-6)
            assert error <= best * (1 + 1e-6 if num_removed == 1 else 3)


def test_uncorrelated_features_go_by_their_own_output() -> None:
    """With a diagonal Gram matrix the cost of a feature is G_jj ‖w_j‖², in closed form."""
    diagonal, weight_DF = torch.tensor([4.0, 1.0, 9.0]), torch.tensor([[1.0, 1.0, 0.5], [0.0, 2.0, 0.0]])
    found = eliminate(torch.diag(diagonal), weight_DF, damping=SMALL)
    assert found.order_U.tolist() == [2, 0, 1]
    torch.testing.assert_close(found.errors_U, torch.tensor([2.25, 6.25, 11.25], dtype=torch.float64))


def test_the_last_error_is_that_of_no_output() -> None:
    features_TF, weight_DF = problem(10)
    found = eliminate(features_TF.T @ features_TF, weight_DF, damping=SMALL)
    assert float(found.errors_U[-1]) == pytest.approx(float((features_TF @ weight_DF.T).square().sum()))


@pytest.mark.parametrize("step", [None, 1, 7])
def test_errors_never_fall(step: int | None) -> None:
    features_TF, weight_DF = problem(150, num_tokens=200)
    found = eliminate((features_TF.T @ features_TF).float(), weight_DF.float(), step=step)
    assert (found.errors_U.diff() >= 0).all()
    assert sorted(found.order_U.tolist()) == list(range(150))
    assert found.errors_U.dtype is torch.float64
    assert found.order_U.dtype is torch.int64


def test_many_at_a_time_cost_little_more_than_one() -> None:
    features_TF, weight_DF = problem(300, num_tokens=900, output_size=40)
    one, several = (eliminate(features_TF.T @ features_TF, weight_DF, step=step) for step in (1, None))
    half = one.errors_U[149], several.errors_U[149]
    assert float(half[0]) <= float(half[1]) <= 1.05 * float(half[0])


def test_features_that_say_the_same_or_nothing_go_first() -> None:
    features_TF, weight_DF = problem(6)
    features_TF[:, 2] = 0.0
    features_TF[:, 4] = features_TF[:, 5]
    found = eliminate(features_TF.T @ features_TF, weight_DF, step=1, damping=1e-8)
    assert int(found.order_U[0]) == 2
    assert int(found.order_U[1]) in (4, 5)
    assert float(found.errors_U[1]) < 1e-3 * float(found.errors_U[2])


@pytest.mark.parametrize("width", [1, 4])
def test_fewer_tokens_than_features_and_constant_ones(width: int) -> None:
    features_TF, weight_DF = problem(40, num_tokens=10)
    features_TF[:, :8] = 1.0
    gram_FF = features_TF.float().T @ features_TF.float()
    found = eliminate(gram_FF, weight_DF.float(), width=width)
    assert found.errors_U.isfinite().all()
    assert sorted(found.order_U.tolist()) == list(range(40 // width))
    total = float((features_TF @ weight_DF.T).square().sum())
    assert float(found.errors_U[len(found.errors_U) // 2 - 1]) < 0.01 * total  # ten tokens need few features
    assert float(found.errors_U[-1]) == pytest.approx(total, rel=0.01)


def test_a_matrix_that_rounding_made_indefinite_is_damped_more() -> None:
    features_TF, weight_DF = problem(6)
    indefinite = features_TF.T @ features_TF
    indefinite -= 2 * float(torch.linalg.eigvalsh(indefinite)[0]) * torch.eye(6)
    found = eliminate(indefinite, weight_DF, damping=1e-9)
    assert found.errors_U.isfinite().all()


@pytest.mark.parametrize("width", [1, 2])
def test_without_activations_units_go_by_the_norm_of_their_weights(width: int) -> None:
    weight_DF = torch.tensor([[3.0, 3.0, 1.0, 1.0, 2.0, 2.0]])
    found = eliminate(torch.zeros(6, 6), weight_DF, width=width)
    assert found.order_U.tolist() == ([2, 3, 4, 5, 0, 1] if width == 1 else [1, 2, 0])
    assert not found.errors_U.any()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_makes_no_difference(scale: float) -> None:
    features_TF, weight_DF = problem(9)
    gram_FF = features_TF.T @ features_TF
    expected, found = eliminate(gram_FF, weight_DF), eliminate(scale * gram_FF, weight_DF)
    assert found.order_U.tolist() == expected.order_U.tolist()
    torch.testing.assert_close(found.errors_U / scale, expected.errors_U)


def test_inputs_stay_as_they_are() -> None:
    features_TF, weight_DF = problem(9)
    gram_FF = features_TF.T @ features_TF
    before = gram_FF.clone(), weight_DF.clone()
    eliminate(gram_FF, weight_DF)
    assert torch.equal(gram_FF, before[0])
    assert torch.equal(weight_DF, before[1])


@pytest.mark.parametrize(
    ("gram_FF", "weight_DF", "width"),
    [
        (torch.eye(4)[:3], torch.ones(2, 4), 1),
        (torch.eye(4), torch.ones(2, 3), 1),
        (torch.eye(4), torch.ones(2, 4), 3),
        (torch.eye(4), torch.ones(2, 4), 0),
        (torch.empty(0, 0), torch.ones(2, 0), 1),
    ],
)
def test_refuses_shapes_that_do_not_fit(gram_FF: Tensor, weight_DF: Tensor, width: int) -> None:
    with pytest.raises(PrunerInputError, match="A Gram matrix must be square"):
        eliminate(gram_FF, weight_DF, width=width)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_refuses_what_is_not_finite(value: float) -> None:
    with pytest.raises(PrunerInputError, match="must be finite, got NaN or infinity"):
        eliminate(torch.full((2, 2), value), torch.ones(1, 2))
    with pytest.raises(PrunerInputError, match="must be finite, got NaN or infinity"):
        eliminate(torch.eye(2), torch.full((1, 2), value))


@pytest.mark.parametrize(("damping", "step"), [(0.0, None), (float("nan"), 1), (1e-4, 0)])
def test_refuses_a_damping_or_step_that_is_not_positive(damping: float, step: int | None) -> None:
    with pytest.raises(PrunerInputError, match="damping and step must be positive"):
        eliminate(torch.eye(2), torch.ones(1, 2), damping=damping, step=step)
