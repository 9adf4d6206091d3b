import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.pruners.errors import PrunerInputError
from nas.pruners.rearrangement import Bools, Floats, harm, rearrange

Problem = tuple[Floats, Bools]


@st.composite
def problems(draw: st.DrawFn, most_units: int = 12) -> Problem:
    """Gradients of units that are alike in groups, and the mask that the diagonal alone gives."""
    units = draw(st.integers(2, most_units))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    shared = rng.standard_normal((draw(st.integers(1, 8)), 3)) @ rng.standard_normal((3, units))
    gradients_BU = shared + 0.3 * rng.standard_normal(shared.shape)
    return gradients_BU, best_by_diagonal(gradients_BU, draw(st.integers(1, units - 1)))


def best_by_diagonal(gradients_BU: Floats, num_kept: int) -> Bools:
    kept_U = np.zeros(gradients_BU.shape[1], dtype=np.bool_)
    kept_U[np.argsort(-(gradients_BU**2).sum(axis=0))[:num_kept]] = True
    return kept_U


def quadratic(fisher_UU: Floats, pruned: list[int]) -> float:
    return float(fisher_UU[np.ix_(pruned, pruned)].sum())


def by_hand(gradients_BU: Floats, kept_U: Bools) -> Bools:
    """The paper's greedy, word by word, with F in full."""
    fisher_UU = gradients_BU.T @ gradients_BU
    ascending = [int(unit) for unit in np.argsort(fisher_UU.diagonal())]
    num_pruned = int((~kept_U).sum())
    pruned = ascending[:num_pruned]
    for unit in ascending[num_pruned:]:
        candidates = [*pruned, unit]
        objectives = [quadratic(fisher_UU, [i for i in candidates if i != j]) for j in candidates]
        del candidates[int(np.argmin(objectives))]
        pruned = candidates
    result_U = np.ones(len(kept_U), dtype=np.bool_)
    result_U[pruned] = False
    return result_U


@given(problems())
def test_equals_the_greedy_choice_with_the_fisher_matrix_in_full(problem: Problem) -> None:
    np.testing.assert_array_equal(rearrange(*problem), by_hand(*problem))


@given(problems())
def test_harm_is_the_quadratic_form(problem: Problem) -> None:
    gradients_BU, kept_U = problem
    expected = quadratic(gradients_BU.T @ gradients_BU, list(np.flatnonzero(~kept_U)))
    assert harm(gradients_BU, kept_U) == pytest.approx(expected, abs=1e-9)


@given(problems(), st.integers(0, 10_000))
def test_never_worse_than_any_mask_it_is_given_and_as_many_kept(problem: Problem, seed: int) -> None:
    gradients_BU, kept_U = problem
    for given_U in (kept_U, np.random.default_rng(seed).permutation(kept_U)):
        rearranged_U = rearrange(gradients_BU, given_U)
        assert harm(gradients_BU, rearranged_U) <= harm(gradients_BU, given_U)
        assert rearranged_U.sum() == given_U.sum()


def test_is_mostly_the_best_of_all_subsets() -> None:
    best, harms = 0, np.zeros(3)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        gradients_BU = rng.standard_normal((6, 8)) + rng.standard_normal((6, 1))
        start_U = best_by_diagonal(gradients_BU, 5)
        found = harm(gradients_BU, rearrange(gradients_BU, start_U))
        optimum = min(
            harm(gradients_BU, ~np.isin(np.arange(8), pruned)) for pruned in itertools.combinations(range(8), 3)
        )
        assert optimum - 1e-9 <= found <= harm(gradients_BU, start_U)
        best += found <= optimum + 1e-9
        harms += harm(gradients_BU, start_U), found, optimum
    assert best >= 30, best
    assert harms[1] - harms[2] < 0.3 * (harms[0] - harms[2]), harms


def test_units_that_cancel_go_together() -> None:
    rearranged_U = rearrange(np.array([[0.5, 1.0, -1.1]]), np.array([False, False, True]))
    assert rearranged_U.tolist() == [True, False, False]


def test_one_pass_of_single_exchanges_may_miss_the_best() -> None:
    """A limit of the method: the first two cancel, but the first alone makes things worse, and is not tried again."""
    gradients_BU = np.array([[3.0, -3.0, 1.0, 1.0], [2.0, -2.0, 1.0, 1.0]])
    start_U = np.array([True, True, False, False])
    found = harm(gradients_BU, rearrange(gradients_BU, start_U))
    assert (harm(gradients_BU, ~start_U), found, harm(gradients_BU, start_U)) == (0.0, 5.0, 8.0)


@pytest.mark.parametrize("kept", [True, False])
def test_all_or_nothing_stays(kept: bool) -> None:
    kept_U = np.full(5, kept)
    rearranged_U = rearrange(np.ones((2, 5)), kept_U)
    np.testing.assert_array_equal(rearranged_U, kept_U)
    assert rearranged_U is not kept_U


def test_without_gradients_or_with_equal_ones_the_mask_stays_as_large() -> None:
    kept_U = np.array([False, True, True, False])
    for gradients_BU in (np.zeros((3, 4)), np.ones((3, 4)), np.zeros((0, 4))):
        assert rearrange(gradients_BU, kept_U).sum() == 2


def test_refuses_gradients_that_do_not_fit() -> None:
    with pytest.raises(PrunerInputError, match=r"must have shape \(batches, 4\) for 4 units, got \(2, 5\)"):
        rearrange(np.ones((2, 5)), np.array([True, False, True, False]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_refuses_gradients_that_are_not_finite(value: float) -> None:
    with pytest.raises(PrunerInputError, match="Gradients must be finite"):
        rearrange(np.full((2, 2), value), np.array([True, False]))
