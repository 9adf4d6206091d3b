"""The search of masks for a budget: which KV groups and neurons of all layers are worth most (arXiv:2204.09656).

FLOPs, or any cost that adds up. Groups all cost the same, and so do neurons, so that for k groups kept

    n_k = ⌊(budget − fixed − k · group) / neuron⌋

neurons can be kept, the best of each kind globally, and the best k solves the knapsack exactly. The paper's code lets
k groups alone exceed the budget; here that is an error.

Latency, as a table gives it, does not add up over units. The paper's scheme: in each sublayer the widest set of best
units that takes as long as one unit is its base; some of the weakest bases (importance per second) are dropped, and the
seconds left are spent on further units, greedily by importance per marginal second; the best number to drop is tried
out. Where we differ: marginal seconds are those of the table's lower convex hull, which makes them rise with width, as
greedy choice needs, whereas what is spent are the table's own; what no longer fits is skipped for what does, and
dropped bases that still fit are put back; attention that must stay may be cut below its base. Not exact, but never
above the budget.

Legend: L layers, K KV groups, N neurons, O owners (a sublayer; first all attentions, then all MLPs), U units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from nas.pruners.errors import BudgetTooSmallError, PrunerInputError
from nas.pruners.latency_table import LatencyTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
ROUNDING = 1e-9
"""More than rounding can sum up to, as a share of the budget."""


def search_flops(
    groups_LK: Floats,
    neurons_LN: Floats,
    *,
    budget: float,
    fixed_cost: float,
    group_cost: float,
    neuron_cost: float,
    required: Sequence[int],
    cost_name: str = "in all",
) -> tuple[Bools, Bools]:
    """Keeps the groups and neurons whose importance sums to the most within a budget.

    Equal units are taken by layer, then by number; of equal sums, the one with more groups. A unit of no importance is
    kept where the budget has room for it.

    Args:
        groups_LK: ``(num_layers, num_kv_groups)`` importance of groups, at least 0.
        neurons_LN: ``(num_layers, num_neurons)`` importance of neurons, at least 0.
        budget: At most this, in the unit of the costs. Kept exactly: in rational numbers, not up to rounding.
        fixed_cost: Of what is not chosen.
        group_cost: Of one group.
        neuron_cost: Of one neuron.
        required: Layers that keep their best group at least.
        cost_name: What the budget is on, for people, such as ``flops``.

    Returns:
        ``(num_layers, num_kv_groups)`` bool and ``(num_layers, num_neurons)`` bool, True = kept.

    Raises:
        BudgetTooSmallError: The required groups alone cost more.
        PrunerInputError: NaN, infinite or negative importance or costs; a budget that is no positive number.
    """
    _require_importance(groups_LK, neurons_LN)
    _require_budget(budget)
    for name, cost in (("fixed_cost", fixed_cost), ("group_cost", group_cost), ("neuron_cost", neuron_cost)):
        if not 0 <= cost < np.inf:
            raise PrunerInputError(f"{name} must be finite and at least 0, got {cost}; count the costs again.")
    fewest = len(required)
    least = Fraction(fixed_cost) + fewest * Fraction(group_cost)
    if least > Fraction(budget):
        raise BudgetTooSmallError.of(
            cost_name, "one KV group in each layer that must have one", least=float(least), received=budget
        )
    group_order = _best_first(groups_LK, required)
    neuron_order = _best_first(neurons_LN, ())
    num_neurons = [neurons_LN.size]
    for k in range(fewest, groups_LK.size + 1):
        left = Fraction(budget) - Fraction(fixed_cost) - k * Fraction(group_cost)
        if left < 0:
            break
        num_neurons.append(min(neurons_LN.size, int(left / Fraction(neuron_cost))) if neuron_cost else neurons_LN.size)
    n_k = np.array(num_neurons[1:])
    importance_k = _sums(groups_LK, group_order)[fewest : fewest + len(n_k)] + _sums(neurons_LN, neuron_order)[n_k]
    best = len(importance_k) - 1 - int(importance_k[::-1].argmax())
    return (
        _kept(group_order[: fewest + best], groups_LK.shape),
        _kept(neuron_order[: n_k[best]], neurons_LN.shape),
    )


def search_latency(
    groups_LK: Floats, neurons_LN: Floats, *, budget_s: float, table: LatencyTable, required: Sequence[int]
) -> tuple[Bools, Bools]:
    """Keeps groups and neurons of a high total importance, in a time that a table finds short enough.

    Args:
        groups_LK: ``(num_layers, num_kv_groups)`` importance of groups, at least 0.
        neurons_LN: ``(num_layers, num_neurons)`` importance of neurons, at least 0.
        budget_s: ``table.of`` what is returned is at most this.
        table: For the same numbers of groups and neurons.
        required: Layers that keep their best group at least.

    Returns:
        ``(num_layers, num_kv_groups)`` bool and ``(num_layers, num_neurons)`` bool, True = kept.

    Raises:
        BudgetTooSmallError: One group in each required layer takes longer.
        PrunerInputError: NaN, infinite or negative importance; a budget that is no positive number; a table of other
            widths.
    """
    _require_importance(groups_LK, neurons_LN)
    _require_budget(budget_s)
    widths = (groups_LK.shape[1], neurons_LN.shape[1])
    if widths != (table.num_kv_groups, table.num_neurons):
        raise PrunerInputError(
            f"A latency table must reach up to {widths[0]} KV groups and {widths[1]} neurons, "
            f"got {table.num_kv_groups} and {table.num_neurons}; measure one for this model."
        )
    num_layers = len(groups_LK)
    must_L = np.isin(np.arange(num_layers), list(required))
    least_s = table.of(must_L, np.zeros(num_layers))
    if least_s > budget_s:
        raise BudgetTooSmallError.of(
            "s", "one KV group in each layer that must have one", least=least_s, received=budget_s
        )
    sublayers = _Sublayers.of(groups_LK, neurons_LN, table, must_L)
    best_O, best_importance = sublayers.start_O * 0, -1.0
    droppable = sublayers.weakest_first(np.concatenate([must_L, np.zeros(num_layers, dtype=np.bool_)]))
    for num_dropped in range(len(droppable) + 1):
        dropped_O = np.isin(np.arange(2 * num_layers), droppable[:num_dropped])
        if sublayers.importance(np.where(dropped_O, sublayers.start_O, sublayers.full_O)) <= best_importance:
            break  # nor can anything that drops more be better
        if sublayers.seconds(sublayers.start_O * ~dropped_O) > budget_s:
            continue
        widths_O = sublayers.put_back(droppable[:num_dropped][::-1], sublayers.spend(dropped_O, budget_s), budget_s)
        if (importance := sublayers.importance(widths_O)) > best_importance:
            best_O, best_importance = widths_O, importance
    return (
        _best_of_each_layer(groups_LK, best_O[:num_layers]),
        _best_of_each_layer(neurons_LN, best_O[num_layers:]),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sublayers:
    """The widths that sublayers can have, and the units beyond their bases in the order of the greedy choice.

    Attributes:
        table: Of latency.
        sums: For each kind of sublayer ``(num_layers, num_units + 1)``: importance of the best 0, 1, … units.
        start_O: Widths of the bases.
        full_O: Widths of the whole sublayers.
        owner_U: Whose each unit is; the units of an owner come best first.
        cost_U: Seconds that each adds.
    """

    table: LatencyTable
    sums: tuple[Floats, Floats]
    start_O: Ints
    full_O: Ints
    owner_U: Ints
    cost_U: Floats

    @classmethod
    def of(cls, groups_LK: Floats, neurons_LN: Floats, table: LatencyTable, must_L: Bools) -> "_Sublayers":
        num_layers = len(must_L)
        costs = (table.attention_at(np.arange(table.num_kv_groups + 1)), table.mlp_at(np.arange(table.num_neurons + 1)))
        starts = (
            np.where(must_L, 1, table.attention_flat_until()),
            np.full(num_layers, table.mlp_flat_until()),
        )
        owners, worths, marginals, sums = [], [], [], []
        for kind, (scores, cost, start_L) in enumerate(zip((groups_LK, neurons_LN), costs, starts, strict=True)):
            hulls = {int(start): np.diff(_lower_hull(cost[start:])) for start in np.unique(start_L)}
            descending = -np.sort(-scores, axis=1)
            sums.append(np.pad(np.cumsum(descending, axis=1), ((0, 0), (1, 0))))
            for layer, start in enumerate(start_L):
                with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                    worth = np.where(hulls[int(start)] > 0, descending[layer, start:] / hulls[int(start)], np.inf)
                worths.append(np.minimum.accumulate(worth))  # falls already, but for rounding
                marginals.append(np.diff(cost)[start:])
                owners.append(np.full(len(worth), kind * num_layers + layer))
        order = np.argsort(-np.concatenate(worths), kind="stable")
        return cls(
            table=table,
            sums=(sums[0], sums[1]),
            start_O=np.concatenate(starts),
            full_O=np.repeat([table.num_kv_groups, table.num_neurons], num_layers),
            owner_U=np.concatenate(owners)[order],
            cost_U=np.concatenate(marginals)[order],
        )

    def weakest_first(self, must_O: Bools) -> Ints:
        """Owners whose base may be dropped, by importance per second of it; bases that take no time come last."""
        num_layers = len(self.start_O) // 2
        base_O = np.concatenate(
            [sums[np.arange(num_layers), self.start_O.reshape(2, -1)[kind]] for kind, sums in enumerate(self.sums)]
        )
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            worth_O = np.where(self._times_s(self.start_O) > 0, base_O / self._times_s(self.start_O), np.inf)
        order_O = np.argsort(worth_O, kind="stable")
        weakest: Ints = order_O[~must_O[order_O]]
        return weakest

    def spend(self, dropped_O: Bools, budget_s: float) -> Ints:
        """Widths after the seconds that bases leave over have been spent, dropped owners at 0."""
        base_O = self.start_O * ~dropped_O
        left_s = budget_s - self.seconds(base_O)
        widths_O = self._greedy(base_O, dropped_O, left_s)
        if self.seconds(widths_O) > budget_s:  # by rounding: units are added up one by one
            widths_O = self._greedy(base_O, dropped_O, left_s - ROUNDING * budget_s)
        return widths_O

    def put_back(self, owners: Ints, widths_O: Ints, budget_s: float) -> Ints:
        """The same with those bases, of owners at 0, that still fit, one after another."""
        for owner in owners:
            wider_O = widths_O.copy()
            wider_O[owner] = self.start_O[owner]
            if self.seconds(wider_O) <= budget_s:
                widths_O = wider_O
        return widths_O

    def _greedy(self, base_O: Ints, dropped_O: Bools, left_s: float) -> Ints:
        widths_O = base_O.copy()
        pool_U = np.flatnonzero(~dropped_O[self.owner_U])
        while len(pool_U):
            spent_s = np.cumsum(self.cost_U[pool_U])
            num_taken = int(np.searchsorted(spent_s, left_s, side="right"))
            widths_O += np.bincount(self.owner_U[pool_U[:num_taken]], minlength=len(widths_O))
            left_s -= spent_s[num_taken - 1] if num_taken else 0.0
            pool_U = pool_U[num_taken:]
            next_s = self._times_s(np.minimum(widths_O + 1, self.full_O)) - self._times_s(widths_O)
            blocked_O = next_s > left_s
            blocked_O[self.owner_U[pool_U[:1]]] = True
            pool_U = pool_U[~blocked_O[self.owner_U[pool_U]]]
        return widths_O

    def importance(self, widths_O: Ints) -> float:
        num_layers = len(widths_O) // 2
        rows = np.arange(num_layers)
        return float(self.sums[0][rows, widths_O[:num_layers]].sum() + self.sums[1][rows, widths_O[num_layers:]].sum())

    def seconds(self, widths_O: Ints) -> float:
        num_layers = len(widths_O) // 2
        return self.table.of(widths_O[:num_layers], widths_O[num_layers:])

    def _times_s(self, widths_O: Ints) -> Floats:
        num_layers = len(widths_O) // 2
        return np.concatenate(
            [self.table.attention_at(widths_O[:num_layers]), self.table.mlp_at(widths_O[num_layers:])]
        )


def _require_importance(groups_LK: Floats, neurons_LN: Floats) -> None:
    for name, scores in (("groups_LK", groups_LK), ("neurons_LN", neurons_LN)):
        if not (np.isfinite(scores).all() and (scores >= 0).all()):
            raise PrunerInputError(
                f"Importance must be finite and at least 0, got {scores.min():.6g} at the least in {name}; "
                "take squared or absolute values, and load the model in float32."
            )


def _require_budget(budget: float) -> None:
    if not 0 < budget < np.inf:
        raise PrunerInputError(f"A budget must be a positive number, got {budget}; give what may be spent in all.")


def _best_first(scores: Floats, required: Sequence[int]) -> Ints:
    """Flat numbers of all units, those first that are the best of a required layer."""
    keys = scores.astype(np.float64)
    layers = list(required)
    keys[layers, keys[layers].argmax(axis=1)] = np.inf
    return np.argsort(-keys, axis=None, kind="stable")


def _sums(scores: Floats, order: Ints) -> Floats:
    """Of the first 0, 1, … units."""
    return np.concatenate([[0.0], np.cumsum(scores.ravel()[order])])


def _kept(units: Ints, shape: tuple[int, ...]) -> Bools:
    kept = np.zeros(shape, dtype=np.bool_)
    kept.ravel()[units] = True
    return kept


def _best_of_each_layer(scores: Floats, counts_L: Ints) -> Bools:
    order = np.argsort(-scores, axis=1, kind="stable")
    kept = np.zeros(scores.shape, dtype=np.bool_)
    np.put_along_axis(kept, order, np.arange(scores.shape[1]) < counts_L[:, None], axis=1)
    return kept


def _lower_hull(values: Floats) -> Floats:
    """The largest convex function that is nowhere above the values, one for each whole number from 0 on."""
    corners: list[int] = []
    for x in range(len(values)):
        while len(corners) > 1:
            before, last = corners[-2], corners[-1]
            if (values[last] - values[before]) * (x - before) < (values[x] - values[before]) * (last - before):
                break
            corners.pop()
        corners.append(x)
    return np.interp(np.arange(len(values)), corners, values[corners])
