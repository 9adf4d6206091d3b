"""Pareto dominance and what is built on it: fronts, ranks, crowding and exact hypervolume.

Every objective is minimised. A point dominates another where it is nowhere worse and somewhere better, so equal
points do not dominate each other and share their fate: all on the front, or none. A row with a NaN or an infinity
holds no usable measurement: it is never on a front and adds no hypervolume.

Sources: non-dominated sorting, crowding distance and constrained domination from NSGA-II (Deb et al., IEEE
Transactions on Evolutionary Computation 6(2), 2002); hypervolume by exclusive contributions from WFG (While, Bradstreet
and Barone, IEEE Transactions on Evolutionary Computation 16(1), 2012).

Legend: T trials, N points of a front, M objectives.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class ReferencePointError(ValueError):
    """A reference point that does not fit the points, or that cannot be derived from them."""


def dominates(first_M: ArrayLike, second_M: ArrayLike) -> bool:
    """Whether the first point is nowhere worse than the second and somewhere better. False where either has a NaN."""
    first, second = np.asarray(first_M, dtype=np.float64), np.asarray(second_M, dtype=np.float64)
    return bool((first <= second).all() and (first < second).any())


def non_dominated(objectives_TM: ArrayLike) -> NDArray[np.bool_]:
    """Which points no other point dominates.

    Args:
        objectives_TM: ``(num_trials, num_objectives)`` float. Of equal points all are kept; rows with a NaN or an
            infinity are not, and dominate nothing.

    Returns:
        ``(num_trials,)`` bool, True = on the front.
    """
    objectives = np.asarray(objectives_TM, dtype=np.float64)
    front_T = _finite_rows(objectives)
    for trial in np.flatnonzero(front_T):
        if front_T[trial]:  # a dominated point need not be compared: what it dominates, its dominator does too
            worse_T = (objectives >= objectives[trial]).all(axis=1) & (objectives > objectives[trial]).any(axis=1)
            front_T &= ~worse_T
    return front_T


def non_dominated_sort(objectives_TM: ArrayLike, *, violation_T: ArrayLike | None = None) -> NDArray[np.int64]:
    """Ranks trials by constrained domination: 0 for the front, 1 for the front once those are gone, and so on.

    Every infeasible trial ranks behind all feasible ones, by its violation alone; rows with a NaN or an infinity
    (in the objectives or the violation) share the last rank.

    Args:
        objectives_TM: ``(num_trials, num_objectives)`` float.
        violation_T: ``(num_trials,)`` float, feasible when <= 0; all are feasible where it is not given.

    Returns:
        ``(num_trials,)`` int, 0 = best.
    """
    objectives = np.asarray(objectives_TM, dtype=np.float64)
    violation = np.zeros(len(objectives)) if violation_T is None else np.asarray(violation_T, dtype=np.float64)
    usable_T = _finite_rows(objectives) & np.isfinite(violation)
    waiting_T = usable_T & (violation <= 0)
    rank_T = np.zeros(len(objectives), dtype=np.int64)
    rank = 0
    while waiting_T.any():
        waiting = np.flatnonzero(waiting_T)
        front = waiting[non_dominated(objectives[waiting])]
        rank_T[front] = rank
        waiting_T[front] = False
        rank += 1
    infeasible_T = usable_T & (violation > 0)
    levels, level_of_trial = np.unique(violation[infeasible_T], return_inverse=True)
    rank_T[infeasible_T] = rank + level_of_trial
    rank_T[~usable_T] = rank + len(levels)
    return rank_T


def crowding_distance(objectives_NM: ArrayLike) -> Floats:
    """How far a front's neighbours lie apart around each point: larger = more alone, infinite at the ends.

    Args:
        objectives_NM: ``(num_points, num_objectives)`` float, finite, all of one front. Each objective counts in
            shares of its range; one that does not vary counts nothing.

    Returns:
        ``(num_points,)`` float.
    """
    objectives = np.asarray(objectives_NM, dtype=np.float64)
    distance_N = np.zeros(len(objectives))
    for values_N in objectives.T:
        order = np.argsort(values_N, kind="stable")
        ascending_N = values_N[order]
        span = ascending_N[-1] - ascending_N[0] if len(order) else 0.0
        if span > 0:
            distance_N[order[[0, -1]]] = np.inf
            distance_N[order[1:-1]] += (ascending_N[2:] - ascending_N[:-2]) / span
    return distance_N


def crowded_order(objectives_TM: ArrayLike, *, violation_T: ArrayLike | None = None) -> NDArray[np.int64]:
    """Trials from the best to the worst: by rank of constrained domination, then the less crowded first.

    Args:
        objectives_TM: ``(num_trials, num_objectives)`` float, finite.
        violation_T: As for ``non_dominated_sort``.

    Returns:
        ``(num_trials,)`` int, positions of trials; ties stay in the order they came.
    """
    objectives = np.asarray(objectives_TM, dtype=np.float64)
    rank_T = non_dominated_sort(objectives, violation_T=violation_T)
    crowding_T = np.zeros(len(objectives))
    for rank in np.unique(rank_T):
        crowding_T[rank_T == rank] = crowding_distance(objectives[rank_T == rank])
    return np.lexsort((-crowding_T, rank_T))


def reference_point(objectives_TM: ArrayLike, *, margin: float = 0.1) -> Floats:
    """The worst value of each objective, made worse by ``margin`` times its range.

    Ranges rather than a factor (worst x 1.1), because a maximised objective arrives negated and a factor would then
    move the point the wrong way. The margin lets the ends of the front count (Ishibuchi et al., Evolutionary
    Computation 26(3), 2018). Hypervolumes compare only under one reference point: fix it once a search, and pass a
    heavy-tailed objective such as perplexity as its logarithm, here and to ``hypervolume``.

    Args:
        objectives_TM: ``(num_trials, num_objectives)`` float; rows with a NaN or an infinity are ignored.
        margin: Share of the range. An objective that does not vary moves by this share of its magnitude instead,
            or by ``margin`` itself where it is zero.

    Returns:
        ``(num_objectives,)`` float.

    Raises:
        ReferencePointError: No row is finite.
    """
    objectives = np.asarray(objectives_TM, dtype=np.float64)
    finite = objectives[_finite_rows(objectives)]
    if not len(finite):
        raise ReferencePointError(
            f"A reference point needs at least one trial whose objectives are all finite, got none among "
            f"{len(objectives)}; measure one first, such as the supernet."
        )
    worst_M = finite.max(axis=0)
    span_M = worst_M - finite.min(axis=0)
    magnitude_M = np.where(worst_M != 0, np.abs(worst_M), 1.0)
    return np.asarray(worst_M + margin * np.where(span_M > 0, span_M, magnitude_M))


def hypervolume(points_NM: ArrayLike, reference_M: ArrayLike) -> float:
    """The volume between the points and the reference point: what at least one of them dominates. Exact.

    Takes O(N log N) for two objectives, and one such sweep a point for three.

    Args:
        points_NM: ``(num_points, num_objectives)`` float, in any order. Those not better than the reference in every
            objective, and those with a NaN or an infinity, are ignored; an empty list has volume 0.
        reference_M: ``(num_objectives,)`` float.

    Raises:
        ReferencePointError: The reference is not finite, or has another number of objectives than the points.
    """
    reference = np.asarray(reference_M, dtype=np.float64)
    points = np.asarray(points_NM, dtype=np.float64)
    if not np.isfinite(reference).all():
        raise ReferencePointError(f"A reference point must be finite, got {reference.tolist()}; leave out such trials.")
    if not points.size:
        return 0.0
    if points.shape[1:] != reference.shape:
        raise ReferencePointError(
            f"A reference point must hold one value per objective of the points, got shape {reference.shape} for "
            f"points of shape {points.shape}; derive it with reference_point(points)."
        )
    inside = points[_finite_rows(points) & (points < reference).all(axis=1)]
    return _volume(inside[non_dominated(inside)], reference)


def _volume(front_NM: Floats, reference_M: Floats) -> float:
    """Hypervolume of mutually non-dominated points that are better than the reference everywhere.

    Points are taken from the worst to the best in the last objective. Each adds a slab: what it dominates in the
    other objectives, less what the points still to come dominate of that, times its depth in the last.
    """
    if not len(front_NM):
        return 0.0
    if len(reference_M) == 1:
        return float(reference_M[0] - front_NM.min())
    if len(reference_M) == 2:
        return _area(front_NM, reference_M)
    front_NM = front_NM[np.argsort(-front_NM[:, -1], kind="stable")]
    edge_NM = reference_M - front_NM
    total = 0.0
    for position, point_M in enumerate(front_NM):
        shadowed = np.maximum(front_NM[position + 1 :, :-1], point_M[:-1])
        shadow = _volume(shadowed[non_dominated(shadowed)], reference_M[:-1])
        total += float(edge_NM[position, -1] * (edge_NM[position, :-1].prod() - shadow))
    return total


def _area(front_N2: Floats, reference_2: Floats) -> float:
    """Area of non-dominated points: one rectangle a point, between it and the next-better in the second objective."""
    ascending_N2 = front_N2[np.argsort(front_N2[:, 0], kind="stable")]
    width_N = reference_2[0] - ascending_N2[:, 0]
    ceiling_N = np.concatenate(([reference_2[1]], ascending_N2[:-1, 1]))
    return float(width_N @ (ceiling_N - ascending_N2[:, 1]))


def _finite_rows(objectives_TM: Floats) -> NDArray[np.bool_]:
    """Which rows hold neither a NaN nor an infinity."""
    return np.asarray(np.isfinite(objectives_TM).all(axis=tuple(range(1, objectives_TM.ndim))), dtype=np.bool_)
