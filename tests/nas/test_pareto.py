"""Dominance against its definition and hypervolume against inclusion and exclusion, over points with many ties."""

import itertools
import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.pareto import (
    ReferencePointError,
    crowded_order,
    crowding_distance,
    dominates,
    hypervolume,
    non_dominated,
    non_dominated_sort,
    reference_point,
)

Points = list[tuple[float, ...]]


def point_sets(*, max_size: int = 7) -> st.SearchStrategy[Points]:
    """Points of 1 to 4 objectives on a coarse grid, so that ties and duplicates are common."""
    return st.integers(1, 4).flatmap(
        lambda m: st.lists(st.tuples(*[st.integers(0, 6).map(float)] * m), min_size=1, max_size=max_size)
    )


def hypervolume_by_inclusion_and_exclusion(points: Points, reference: tuple[float, ...]) -> float:
    inside = [point for point in points if all(x < r for x, r in zip(point, reference, strict=True))]
    total = 0.0
    for size in range(1, len(inside) + 1):
        for subset in itertools.combinations(inside, size):
            corner = [max(values) for values in zip(*subset, strict=True)]
            total -= (-1) ** size * math.prod(r - c for r, c in zip(reference, corner, strict=True))
    return total


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((1, 1), (2, 2), True),
        ((1, 2), (2, 2), True),
        ((2, 2), (2, 2), False),
        ((1, 3), (3, 1), False),
        ((1,), (2,), True),
        ((math.nan, 1), (2, 2), False),
        ((1, 1), (math.nan, 2), False),
    ],
)
def test_dominates(first: tuple[float, ...], second: tuple[float, ...], expected: bool) -> None:
    assert dominates(first, second) is expected


@given(point_sets(max_size=12))
@settings(deadline=None)
def test_the_front_is_what_nothing_dominates(points: Points) -> None:
    expected = [not any(dominates(other, point) for other in points) for point in points]
    assert non_dominated(points).tolist() == expected


def test_equal_points_are_all_kept() -> None:
    assert non_dominated([(1, 2), (1, 2), (2, 1), (2, 2), (2, 2)]).tolist() == [True, True, True, False, False]


def test_rows_that_are_not_finite_are_never_on_the_front_and_displace_nobody() -> None:
    rows = [(1, math.nan), (-math.inf, -math.inf), (math.inf, 0), (2, 2)]
    assert non_dominated(rows).tolist() == [False, False, False, True]


def test_an_empty_set_has_an_empty_front() -> None:
    assert non_dominated(np.empty((0, 2))).tolist() == []
    assert non_dominated_sort(np.empty((0, 2))).tolist() == []
    assert crowded_order(np.empty((0, 2))).tolist() == []


@given(point_sets(max_size=12))
@settings(deadline=None)
def test_a_rank_is_the_longest_chain_of_points_above(points: Points) -> None:
    rank_T = non_dominated_sort(points).tolist()
    for point, rank in zip(points, rank_T, strict=True):
        above = [r for other, r in zip(points, rank_T, strict=True) if dominates(other, point)]
        assert rank == max(above, default=-1) + 1


def test_infeasible_trials_rank_by_violation_behind_all_feasible_ones_and_unusable_ones_last() -> None:
    objectives = [(5, 5), (0, 0), (1, 1), (4, 4), (9, 9), (math.nan, 0), (0, 0)]
    violation = [0.2, 0.1, 0.2, -1.0, 0.0, 0.0, math.nan]
    assert non_dominated_sort(objectives, violation_T=violation).tolist() == [3, 2, 3, 0, 1, 4, 4]


def test_crowding_distance_is_the_perimeter_between_neighbours() -> None:
    # NSGA-II, figure 1: the ends are infinite; (1, 3) lies between (0, 4) and (3, 1), both ranges being 4.
    assert crowding_distance([(1, 3), (0, 4), (4, 0), (3, 1)]).tolist() == [1.5, math.inf, math.inf, 1.5]


def test_crowding_distance_of_an_objective_that_does_not_vary_is_nothing() -> None:
    assert crowding_distance([(0, 7), (1, 7), (4, 7)]).tolist() == [math.inf, 1.0, math.inf]
    assert crowding_distance([(3, 7)]).tolist() == [0.0]
    assert crowding_distance(np.empty((0, 2))).tolist() == []


def test_crowded_order_is_by_rank_then_by_solitude() -> None:
    points = [(1, 3), (9, 9), (0, 4), (3.5, 0.5), (4, 0)]
    assert crowded_order(points).tolist() == [2, 4, 0, 3, 1]


@given(point_sets())
@settings(deadline=None)
def test_hypervolume_equals_inclusion_and_exclusion(points: Points) -> None:
    reference = (5.0,) * len(points[0])
    assert hypervolume(points, reference) == pytest.approx(hypervolume_by_inclusion_and_exclusion(points, reference))


@given(st.integers(2, 4), st.integers(0, 10_000))
@settings(deadline=None)
def test_hypervolume_of_real_points_equals_inclusion_and_exclusion(num_objectives: int, seed: int) -> None:
    points = [tuple(row) for row in np.random.default_rng(seed).random((8, num_objectives)).tolist()]
    reference = (1.0,) * num_objectives
    assert hypervolume(points, reference) == pytest.approx(hypervolume_by_inclusion_and_exclusion(points, reference))


@pytest.mark.parametrize("num_objectives", [2, 3, 4, 5])
def test_hypervolume_of_a_staircase(num_objectives: int) -> None:
    # The unit cells below the diagonal plane: points with integer coordinates that sum to n - 1, reference n. The
    # dominated cells are those whose coordinates sum to at least n - 1; their number is n^m less the simplex below.
    n = 4
    grid = list(itertools.product(range(n), repeat=num_objectives))
    points = [cell for cell in grid if sum(cell) == n - 1]
    below = math.comb(n - 2 + num_objectives, num_objectives)
    assert hypervolume(points, (n,) * num_objectives) == pytest.approx(n**num_objectives - below)


@given(point_sets(), st.randoms())
@settings(deadline=None)
def test_hypervolume_knows_no_order_and_ignores_the_dominated(points: Points, random: Random) -> None:
    reference = (7.0,) * len(points[0])
    volume = hypervolume(points, reference)
    shuffled = [*points, *([tuple(x + 0.5 for x in points[0])] * 2)]
    random.shuffle(shuffled)
    assert hypervolume(shuffled, reference) == pytest.approx(volume)


@given(point_sets())
@settings(deadline=None)
def test_hypervolume_never_shrinks_with_one_point_more(points: Points) -> None:
    reference = (5.0,) * len(points[0])
    volumes = [hypervolume(points[:count], reference) for count in range(len(points) + 1)]
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(volumes))


def test_points_at_or_beyond_the_reference_or_not_finite_add_nothing() -> None:
    others = [(2, 0), (3, -5), (math.nan, 0), (-math.inf, 0)]
    assert hypervolume(others, (2, 2)) == 0.0
    assert hypervolume([*others, (1, 1)], (2, 2)) == 1.0


def test_the_hypervolume_of_nothing_is_zero() -> None:
    assert hypervolume([], (1, 1)) == 0.0
    assert hypervolume(np.empty((0, 3)), (1, 1, 1)) == 0.0


def test_hypervolume_refuses_a_reference_of_another_shape_or_without_a_number() -> None:
    with pytest.raises(ReferencePointError, match=r"one value per objective .* got shape \(3,\)"):
        hypervolume([(1, 1)], (2, 2, 2))
    with pytest.raises(ReferencePointError, match="must be finite, got"):
        hypervolume([(1, 1)], (2, math.inf))


def test_the_reference_point_lies_a_tenth_of_the_range_beyond_the_worst() -> None:
    objectives = [(1.0, -0.9), (3.0, -0.4), (math.nan, 50.0), (math.inf, 0.0)]
    assert reference_point(objectives) == pytest.approx([3.2, -0.35])
    assert reference_point(objectives, margin=0.5) == pytest.approx([4.0, -0.15])


def test_the_reference_point_is_worse_than_the_worst_even_without_a_range() -> None:
    assert reference_point([(5.0, -5.0, 0.0)]) == pytest.approx([5.5, -4.5, 0.1])


def test_a_reference_point_needs_a_finite_trial() -> None:
    with pytest.raises(ReferencePointError, match=r"at least one trial .* got none among 1; measure one"):
        reference_point([(math.nan, 1.0)])
    with pytest.raises(ReferencePointError, match="got none among 0"):
        reference_point([])
