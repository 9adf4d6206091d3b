"""Measurements as people read them: one unit a quantity, as many digits as the uncertainty allows."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from evaluators.base import Direction, Measurement

# Largest first. A quantity takes the first whose size its largest number reaches: 0.0052 s are 5.2 ms.
_PREFIXES: dict[str, tuple[tuple[float, str], ...]] = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "bytes": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")),
    "flops": ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP")),
    "parameters": ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")),
}
_COST_UNITS = frozenset({*_PREFIXES, "J", "J/token"})
# Scores of a model that has been cut too far span orders of magnitude (perplexity 12 to 40,000).
_LOGARITHMIC_FROM_RATIO = 30.0
# Digits before that are read; beyond, a column of them is as wide as a table.
_EXPONENT_FROM = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One number of a quantity, in the quantity's own unit.

    Attributes:
        value: The point estimate; None when it is not finite.
        low: Lower bound of the 95 % interval; None where there is none.
        high: Upper bound.
        flags: What a reader must know about it, in words.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    flags: tuple[str, ...] = ()

    @property
    def half_width(self) -> float | None:
        """Half of the 95 % interval: what stands behind the ±."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def text(self) -> str:
        """Such as ``4.12 ± 0.03`` or ``4.4e10 ± 2.3e10``, without the unit."""
        if self.value is None:
            return "–"
        if abs(self.value) >= _EXPONENT_FROM:
            return self._with_exponent(math.floor(math.log10(abs(self.value))))
        if not self.half_width:
            return f"{self.value:,.{_decimals(self.value, significant=4)}f}"
        # Two digits of the uncertainty, and the value to the same place: more would be noise.
        decimals = _decimals(self.half_width, significant=2)
        return f"{self.value:,.{decimals}f} ± {self.half_width:,.{decimals}f}"

    def _with_exponent(self, exponent: int) -> str:
        assert self.value is not None
        value = self.value / 10**exponent
        if not self.half_width:
            return f"{value:.3f}e{exponent}"
        half_width = self.half_width / 10**exponent
        decimals = min(3, _decimals(half_width, significant=2))
        return f"{value:.{decimals}f}e{exponent} ± {half_width:.{decimals}f}e{exponent}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """Something measured, that can be an axis of the chart and a column of the table.

    Attributes:
        name: Of the measurement.
        unit: As shown.
        stored_unit: As measured.
        factor: Shown number = stored number × factor.
        logarithmic: Whether its numbers span orders of magnitude.
        direction: Which way is better; None for what is no objective.
        budget: The most that is allowed (the least, with ``bound`` min), in the shown unit; None without one.
        bound: Which of the two.
    """

    name: str
    unit: str
    stored_unit: str
    factor: float
    logarithmic: bool
    direction: Direction | None
    budget: float | None
    bound: Literal["max", "min"] = "max"

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.name.replace("_", " ")

    @property
    def label(self) -> str:
        """Name and unit."""
        return self.title if self.unit == self.title else f"{self.title} ({self.unit})"

    def read(self, measurement: Measurement) -> Reading:
        """The measurement in this quantity's unit."""
        low, high = measurement.ci95 or (math.nan, math.nan)
        return Reading(
            value=self._shown(measurement.value),
            low=self._shown(low),
            high=self._shown(high),
            flags=tuple(flag.replace("_", " ") for flag in measurement.flags),
        )

    @property
    def is_detail(self) -> bool:
        """Whether it is a part of another quantity, such as one task of several: for the side panel, not the table."""
        return "/" in self.name

    @property
    def is_cost(self) -> bool:
        """Whether it is something a device must spend, rather than a score of the answers."""
        return self.stored_unit in _COST_UNITS

    def with_unit(self, number: str) -> str:
        """The number as a sentence quotes it; a score is a bare number."""
        return f"{number} {self.unit}" if self.is_cost else number

    @property
    def budget_text(self) -> str:
        """Such as ``decode latency ≤ 3.9 ms``; empty without a budget."""
        sign = "≤" if self.bound == "max" else "≥"
        return "" if self.budget is None else f"{self.title} {sign} {self.with_unit(f'{self.budget:.4g}')}"

    def allows(self, value: float | None) -> bool:
        """Whether a value, in the shown unit, is within the budget; one that was not measured is not."""
        if self.budget is None:
            return True
        if value is None:
            return False
        return value <= self.budget if self.bound == "max" else value >= self.budget

    def _shown(self, number: float) -> float | None:
        return number * self.factor if math.isfinite(number) else None


def _decimals(number: float, *, significant: int) -> int:
    """How many decimals show this many significant digits."""
    return 0 if number == 0 else max(0, significant - 1 - math.floor(math.log10(abs(number))))


def describe_quantity(
    name: str,
    values: Iterable[float],
    *,
    unit: str,
    direction: Direction | None,
    budget: float | None,
    bound: Literal["max", "min"] = "max",
) -> Quantity:
    """Chooses the unit and the kind of axis that suit the numbers.

    Args:
        name: Of the measurement.
        values: Every number of it in the run, in the stored unit; those not finite do not count.
        unit: The stored one.
        direction: Which way is better; None for what is no objective.
        budget: In the stored unit.
        bound: Whether the budget is the most or the least that is allowed.
    """
    finite = [float(value) for value in values if math.isfinite(value)]
    largest, smallest = max(finite, default=1.0), min(finite, default=1.0)
    size, shown_unit = next((prefix for prefix in _PREFIXES.get(unit, ()) if largest >= prefix[0]), (1.0, unit))
    factor = 1 / size
    return Quantity(
        name=name,
        unit=shown_unit,
        stored_unit=unit,
        factor=factor,
        logarithmic=smallest > 0 and largest > _LOGARITHMIC_FROM_RATIO * smallest,
        direction=direction,
        budget=None if budget is None else budget * factor,
        bound=bound,
    )
