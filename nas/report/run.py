"""What a report shows of a run: its quantities, its trials as points, the front, and the hypervolume over trials."""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from evaluators.base import BEFORE_RECOVERY_SUFFIX, Measurement
from nas.objectives import Constraint
from nas.recovered import ranks
from nas.report.quantities import Quantity, Reading, describe_quantity
from nas.trial import Trial, TrialState
from search_spaces.low_rank import bands_kept, weights_kept
from search_spaces.sub_network import SubNetwork

PointState = Literal["front", "feasible", "infeasible", "partial", "failed", "supernet"]
"""``partial``: measured on a share of the examples only, so not comparable with the front."""


class ReportError(ValueError):
    """A run of which no report can be made; the message says why and how to mend it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A trial, or the supernet, as the report shows it.

    Attributes:
        number: Of the trial; None for the supernet.
        source: Who proposed it.
        state: How it stands to the front.
        fidelity: Share of the evaluation examples used.
        reason: Why it failed, or what of it is not finite; empty otherwise.
        readings: By the quantity's name.
        sub_network: What it keeps.
    """

    number: int | None
    source: str
    state: PointState
    fidelity: float
    reason: str
    readings: Mapping[str, Reading]
    sub_network: SubNetwork

    @property
    def title(self) -> str:
        """Its name for people."""
        return "Supernet" if self.number is None else f"Trial {self.number}"

    @property
    def kept(self) -> dict[str, float]:
        """Shares of the supernet's heads, neurons and layers that remain, and of what is factorised."""
        kept, shape = self.sub_network, self.sub_network.shape
        return {
            "heads": sum(kept.num_heads) / (shape.num_layers * shape.num_heads),
            "neurons": sum(kept.num_neurons) / (shape.num_layers * shape.num_neurons),
            "layers": len(kept.kept_layers) / shape.num_layers,
            **({} if kept.ranks_LM is None else {"weights of matrices": weights_kept(kept)}),
            **({} if kept.bands is None else {"weights of the embedding": bands_kept(kept)}),
        }

    def value(self, quantity: Quantity) -> float | None:
        """The number to plot, in the quantity's unit; None where it was not measured."""
        reading = self.readings.get(quantity.name)
        return None if reading is None else reading.value


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that the page and the figures draw.

    Attributes:
        search: Of ``front.json``: name, model, seed.
        objectives: Names, in the search's order.
        quantities: Objectives first, then budgeted, then other measurements that the supernet has too.
        x: The cost axis at first.
        y: The quality axis at first.
        trials: One point each, in the order in which they ended.
        supernet: The full model.
        front: The members among ``trials``, in the order of ``front.json``.
        hypervolume: After each trial; None where unknown.
        elapsed_s: Time spent on the trials so far, after each trial.
        reference_point: By the objective's name, in the quantity's unit.
        ranks: By the objective's name and the trial's number, its places among recovered trials before recovery and
            after it; without objectives by which nothing was recovered.
    """

    search: Mapping[str, Any]
    objectives: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    x: Quantity
    y: Quantity
    trials: tuple[Point, ...]
    supernet: Point
    front: tuple[Point, ...]
    hypervolume: tuple[float | None, ...]
    elapsed_s: tuple[float, ...]
    reference_point: Mapping[str, float]
    ranks: Mapping[str, Mapping[int, tuple[int, int]]]

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Who proposed trials other than the supernet itself, the busiest first."""
        counts = Counter(point.source for point in self.trials if point.state != "supernet")
        return tuple(source for source, _ in counts.most_common())

    @cached_property
    def best(self) -> Point | None:
        """The front member with the best quality; None without a front."""
        sign = -1.0 if self.y.direction == "maximize" else 1.0
        measured = [(sign * value, point) for point in self.front if (value := point.value(self.y)) is not None]
        return min(measured, key=lambda pair: pair[0])[1] if measured else None

    @property
    def is_planar(self) -> bool:
        """Whether x and y are all the objectives, so that the front is a line between them."""
        return {self.x.name, self.y.name} == set(self.objectives)

    def ratio(self, point: Point, quantity: Quantity) -> float | None:
        """The point's value as a multiple of the supernet's."""
        value, whole = point.value(quantity), self.supernet.value(quantity)
        return None if value is None or not whole else value / whole


def gather(*, front: Mapping[str, Any], trials: Sequence[Trial], hypervolume_by_trial: Sequence[float]) -> Run:
    """Joins ``front.json`` with the trials; a front member's numbers are those of ``front.json``.

    Args:
        front: The content of ``front.json``.
        trials: In the order in which they ended.
        hypervolume_by_trial: One number a trial.

    Raises:
        ReportError: No trial, a front member without its trial, another number of hypervolumes than trials, or
            fewer than two quantities measured.
    """
    members = {member["number"]: _measurements(member) for member in front["trials"]}
    _check(members, trials, hypervolume_by_trial)
    whole = _measurements(front["supernet"])
    measured = [whole, *(members.get(trial.number, trial.measurements) for trial in trials)]
    quantities = _quantities(front, measured)
    x, y = _axes(quantities)
    points = tuple(
        _point(trial, quantities=quantities, readings=_read(quantities, numbers), is_member=trial.number in members)
        for trial, numbers in zip(trials, measured[1:], strict=True)
    )
    by_number = {point.number: point for point in points}
    return Run(
        search=front["search"],
        objectives=tuple(objective["name"] for objective in front["objectives"]),
        quantities=quantities,
        x=x,
        y=y,
        trials=points,
        supernet=Point(
            number=None,
            source="supernet",
            state="supernet",
            fidelity=1.0,
            reason="",
            readings=_read(quantities, whole),
            sub_network=SubNetwork.full(trials[0].sub_network.shape),
        ),
        front=tuple(by_number[number] for number in members),
        hypervolume=tuple(value if math.isfinite(value) else None for value in hypervolume_by_trial),
        elapsed_s=tuple(itertools.accumulate(trial.duration_s for trial in trials)),
        reference_point={
            quantity.name: front["reference_point"][quantity.name] * quantity.factor
            for quantity in quantities
            if quantity.name in front["reference_point"]
        },
        ranks={
            one["name"]: places
            for one in front["objectives"]
            if (places := ranks(trials, one["name"], maximize=one["direction"] == "maximize"))
        },
    )


def _check(members: Mapping[int, Any], trials: Sequence[Trial], hypervolume_by_trial: Sequence[float]) -> None:
    if not trials:
        raise ReportError("A report needs at least one trial, got none; run the search first.")
    if len(hypervolume_by_trial) != len(trials):
        raise ReportError(
            f"A report needs one hypervolume for each of its {len(trials)} trials, got {len(hypervolume_by_trial)}; "
            "compute both from the same trials."
        )
    if missing := sorted(set(members) - {trial.number for trial in trials}):
        raise ReportError(
            f"Every member of the front must be among the trials, got a front with {missing} and no such trial; "
            "pass the trials of the same run."
        )


def _measurements(record: Mapping[str, Any]) -> dict[str, Measurement]:
    return {name: Measurement.from_json(measurement) for name, measurement in record["measurements"].items()}


def _quantities(front: Mapping[str, Any], measured: Sequence[Mapping[str, Measurement]]) -> tuple[Quantity, ...]:
    """Objectives, then budgeted quantities, then what else is known of the supernet (``measured[0]``).

    At the end come scores before recovery.
    """
    directions = {objective["name"]: objective["direction"] for objective in front["objectives"]}
    budgets = {constraint["name"]: Constraint.from_json(constraint) for constraint in front["constraints"]}
    units = {name: measurement.unit for name, measurement in measured[0].items()}
    for numbers in measured[1:]:  # what scores were before recovery, which the supernet needed none of
        units |= {name: one.unit for name, one in numbers.items() if name.endswith(BEFORE_RECOVERY_SUFFIX)}
    units |= {entry["name"]: entry["unit"] for entry in (*front["objectives"], *front["constraints"])}
    quantities = tuple(
        describe_quantity(
            name,
            [numbers[name].value for numbers in measured if name in numbers],
            unit=units[name],
            direction=directions.get(name),
            budget=budgets[name].limit if name in budgets else None,
            bound=budgets[name].bound if name in budgets else "max",
        )
        for name in dict.fromkeys((*directions, *budgets, *units))
    )
    if len(quantities) < 2:
        raise ReportError(
            f"A report plots one measurement against another, got only {[quantity.name for quantity in quantities]}; "
            "give the search a second objective, such as latency."
        )
    return quantities


def _axes(quantities: Sequence[Quantity]) -> tuple[Quantity, Quantity]:
    """The first cost as x and the first quality as y, as far as there are both."""
    y = next((quantity for quantity in quantities if not quantity.is_cost), quantities[0])
    others = [quantity for quantity in quantities if quantity is not y]
    return next((quantity for quantity in others if quantity.is_cost), others[0]), y


def _read(quantities: Sequence[Quantity], numbers: Mapping[str, Measurement]) -> dict[str, Reading]:
    return {quantity.name: quantity.read(numbers[quantity.name]) for quantity in quantities if quantity.name in numbers}


def _point(trial: Trial, *, quantities: Sequence[Quantity], readings: Mapping[str, Reading], is_member: bool) -> Point:
    values = {name: reading.value for name, reading in readings.items()}
    missing = [q.title for q in quantities if q.direction is not None and values.get(q.name) is None]
    point = Point(
        number=trial.number,
        source=trial.source,
        state="front",
        fidelity=trial.fidelity,
        reason=trial.reason or (f"Without a finite number: {', '.join(missing)}." if missing else ""),
        readings=readings,
        sub_network=trial.sub_network,
    )
    return point if is_member else replace(point, state=_state(trial, point, quantities))


def _state(trial: Trial, point: Point, quantities: Sequence[Quantity]) -> PointState:
    if trial.state is TrialState.FAILED or point.reason:
        return "failed"
    if trial.sub_network.is_full:
        return "supernet"
    if not all(quantity.allows(point.value(quantity)) for quantity in quantities):
        return "infeasible"
    return "feasible" if trial.fidelity == 1.0 else "partial"
