"""Objectives and constraints: from measurements to the numbers that strategies and fronts compare.

Inside, every objective is minimised and a constraint is feasible when its violation is <= 0; people are shown the
natural direction.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from evaluators import measurements_of
from evaluators.base import RATIO_SUFFIX, SUPERNET_SUFFIX, Direction, Evaluator, Measurement
from nas.amount import Amount, parse_amount

if TYPE_CHECKING:  # it names all parts, whose imports take seconds
    from nas.config import LimitConfig, SearchConfig


class BudgetError(ValueError):
    """A budget that names nothing measured, or that cannot be compared with it."""


class InfeasibleBudgetError(ValueError):
    """A budget below what anything in the search space reaches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A measurement to optimise.

    Attributes:
        name: Of the measurement.
        unit: Its unit.
        direction: Which way is better.
    """

    name: str
    unit: str
    direction: Direction

    def minimised(self, measurements: Mapping[str, Measurement]) -> float:
        """The value, negated if more is better; NaN where it is missing."""
        measurement = measurements.get(self.name)
        if measurement is None:
            return math.nan
        return -measurement.value if self.direction == "maximize" else measurement.value

    def for_strategy(self, measurements: Mapping[str, Measurement]) -> float:
        """The minimised value on the scale that strategies compare distances on: a perplexity's logarithm.

        A sub-network cut to the bone has a perplexity of 1e11. Crowding distances and models of that scale would see
        nothing else; nats keep the order, and with it the front.
        """
        value = self.minimised(measurements)
        return math.log(value) if self.unit == "perplexity" and value > 0 else value

    def natural(self, minimised: float) -> float:
        """Back to the natural direction."""
        return -minimised if self.direction == "maximize" else minimised

    def to_json(self) -> dict[str, str]:
        """As ``front.json`` writes it."""
        return {"name": self.name, "unit": self.unit, "direction": self.direction}


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A budget in the measurement's own unit.

    Attributes:
        name: Of the measurement.
        unit: Its unit.
        bound: ``max`` or ``min``.
        limit: The budget.
    """

    name: str
    unit: str
    bound: Literal["max", "min"]
    limit: float

    def violation(self, measurements: Mapping[str, Measurement]) -> float:
        """By what share of the budget a trial exceeds it; <= 0 is feasible, NaN where it was not measured."""
        measurement = measurements.get(self.name)
        if measurement is None:
            return math.nan
        excess = measurement.value - self.limit
        return (excess if self.bound == "max" else -excess) / abs(self.limit)

    def to_json(self) -> dict[str, Any]:
        """As ``front.json`` writes it."""
        return {"name": self.name, self.bound: self.limit, "unit": self.unit}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Constraint":
        """The inverse of ``to_json``."""
        bound: Literal["max", "min"] = "max" if "max" in record else "min"
        return cls(name=record["name"], unit=record["unit"], bound=bound, limit=record[bound])


def objectives_of(evaluators: Sequence[Evaluator]) -> tuple[Objective, ...]:
    """One objective an evaluator."""
    return tuple(Objective(name=one.name, unit=one.unit, direction=one.direction) for one in evaluators)


def measurement_of_evaluator(names: Sequence[str], evaluators: Sequence[Evaluator]) -> dict[str, str]:
    """Evaluators that serve one measurement alone, so that a budget may go by the evaluator's name.

    Args:
        names: As a config calls the first of the evaluators.
        evaluators: In that order; there may be more.
    """
    pairs = [(name, one.name) for name, one in zip(names, evaluators, strict=False)]
    return {name: measurement for name, measurement in pairs if names.count(name) == 1}


def measured_name(asked: str, names: Sequence[str]) -> str:
    """The measurement that somebody means: its full name, or a part such as ``latency`` that only one name has.

    Raises:
        BudgetError: No measurement or several fit.
    """
    if asked in names:
        return asked
    fitting = [name for name in names if name.endswith(f"_{asked}")]
    if len(fitting) != 1:
        found = f"several fit ({', '.join(fitting)})" if fitting else "none fits"
        raise BudgetError(
            f"A name must mean one measurement, got {asked!r} and {found}; choose one of {', '.join(names)}."
        )
    return fitting[0]


def refuse_unknown_budgets(config: "SearchConfig") -> None:
    """Refuses a budget on what a search will not measure, before anything is loaded.

    What cannot be known by then passes: parts of lm-eval's scores, and all where an evaluator is somebody's own.

    Raises:
        BudgetError: No measurement has that name, or several have, or the supernet has none of it.
    """
    names = [part.name for part in config.evaluators]
    measured: list[str] = []
    for part in config.evaluators:
        found = measurements_of(part.name, part.options)
        if found is None:
            return
        measured += found
    for asked in config.budget:
        if names.count(asked) != 1 and "/" not in asked:
            _refuse_comparison(asked, measured)
            measured_name(asked, measured)


def _refuse_comparison(asked: str, measured: Sequence[str]) -> None:
    """Refuses a budget on what is measured of sub-networks alone, of which the supernet has no share to take."""
    own = asked.removesuffix(RATIO_SUFFIX).removesuffix(SUPERNET_SUFFIX)
    if own != asked and own in measured:
        raise BudgetError(
            f"A budget must be on what is measured of the supernet as well, got {asked!r}; limit {own} to a share of "
            f"the supernet's, as in {own}: {{max: 0.6x}}."
        )


def constraint_for(
    asked: str,
    bound: Literal["max", "min"],
    amount: Amount,
    supernet: Mapping[str, Measurement],
    aliases: Mapping[str, str],
) -> Constraint:
    """A budget in the unit of what it limits.

    Args:
        asked: The name in the budget.
        bound: ``max`` or ``min``.
        amount: Absolute, or relative to the supernet.
        supernet: What the supernet measured.
        aliases: Names of evaluators to the measurements they serve, so that ``latency`` means ``decode_latency``.

    Raises:
        BudgetError: Nothing of that name was measured, or the amount is relative to a 0 or a NaN.
        AmountError: The amount's unit does not fit.
    """
    name = measured_name(aliases.get(asked, asked), list(supernet))
    own = supernet[name]
    limit = amount.absolute(own.unit, own.value)
    if limit == 0 or not math.isfinite(limit):
        raise BudgetError(
            f"A relative budget must be a share of something, got {amount} of {name}, which is {own.value:g} for the "
            f"supernet; give an amount in {own.unit}."
        )
    return Constraint(name=name, unit=own.unit, bound=bound, limit=limit)


def constraints_of(
    budget: "Mapping[str, LimitConfig]", supernet: Mapping[str, Measurement], aliases: Mapping[str, str]
) -> tuple[Constraint, ...]:
    """The constraints of a config's budget. The arguments and errors are those of ``constraint_for``."""
    constraints = []
    for asked, limit in budget.items():
        bound: Literal["max", "min"] = "max" if limit.max is not None else "min"
        amount = parse_amount(limit.max or limit.min or "")
        constraints.append(constraint_for(asked, bound, amount, supernet, aliases))
    return tuple(constraints)
